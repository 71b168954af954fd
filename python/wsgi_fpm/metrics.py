"""Counters, gauges and histograms of an application, which wsgi-fpm shows in its ``/metrics``.

    from wsgi_fpm import metrics

    ORDERS = metrics.counter("shop_orders_total", "Orders taken.", ["country"])
    ORDERS.labels("nz").inc()

Every process of the pool counts in the same memory: values are those of all workers, and go on when one ends, over reloads and
upgrades too. Where no supervisor runs (tests, a shell, CGI) everything can be called and nothing is counted.
"""

import functools
import re
import time as _time

try:
    from wsgi_fpm_engine import series as _series
except ImportError:

    def _series(kind, name, help, labels, bounds, values):
        return None


__all__ = ["counter", "gauge", "histogram", "BUCKETS"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of a histogram that names none: seconds of a request."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*\Z")
_MERGES = ("sum", "max", "min", "latest")
_INFINITY = float("inf")
_ENDS = {"counter": ("_total", "_created"), "histogram": ("_bucket", "_count", "_sum", "_created")}
"""What the names of a metric's samples have at their ends, beside its own."""
_KEPT_LABELS = ("le", "exported_pool")
"""Labels that a page of metrics needs for itself."""
_metrics = {}
_taken = {}
"""The metric of each name that samples may have."""


def counter(name, help="", labels=()):
    """What only ever grows: ``inc(amount=1)``. Its name ends in ``_total``, or gets that end."""
    if isinstance(name, str) and not name.endswith("_total"):
        name += "_total"
    return _metric(Counter, name, help, labels, "counter", ())


def gauge(name, help="", labels=(), merge="sum"):
    """What goes up and down: ``set(value)``, ``inc(amount=1)``, ``dec(amount=1)``.

    Each worker has a value of its own, which ends with it; ``merge`` says what they come to together: their ``"sum"``, ``"max"`` or
    ``"min"``. ``"latest"`` is one value for all, whoever has set it last.
    """
    if merge not in _MERGES:
        raise ValueError("merge is one of %s, not %r" % (", ".join(_MERGES), merge))
    return _metric(Gauge, name, help, labels, merge, ())


def histogram(name, help="", labels=(), buckets=BUCKETS):
    """How often which values were observed: ``observe(value)``, ``time()``. ``buckets``: their upper bounds, ascending."""
    bounds = tuple(float(bound) for bound in buckets)
    if bounds and bounds[-1] == _INFINITY:
        bounds = bounds[:-1]
    ascending = all(low < high for low, high in zip(bounds, bounds[1:] + (_INFINITY,)))
    if not bounds or not ascending or bounds[0] == -_INFINITY:
        raise ValueError("buckets of %s have to be finite numbers, ascending" % name)
    return _metric(Histogram, name, help, labels, "histogram", bounds)


def _metric(cls, name, help, labels, kind, bounds):
    if isinstance(labels, str):
        raise ValueError("labels of %s are a list of names, not one text" % name)
    labels = tuple(labels)
    if not isinstance(name, str) or not _NAME.match(_family_name(kind, name)) or name.startswith("wsgi_fpm_"):
        raise ValueError("%r can't be a metric's name: letters, digits and _, and wsgi_fpm_ is taken" % (name,))
    for label in labels:
        if not isinstance(label, str) or not _LABEL.match(label) or label in _KEPT_LABELS or labels.count(label) > 1:
            raise ValueError("%r can't be a label of %s" % (label, name))
    definition = (kind, name, str(help), labels, bounds)
    known = _metrics.get(name)
    if known is None:
        names = _sample_names(kind, name)
        for sample in names:
            if _taken.get(sample, name) != name:
                raise ValueError("%s can't be: %s, which is defined already, has samples of the name %s, too" % (name, _taken[sample], sample))
        known = _metrics.setdefault(name, cls(definition))
        _taken.update(dict.fromkeys(names, name))
    elif (known._definition[0],) + known._definition[3:] != (kind, labels, bounds):
        raise ValueError("%s is defined already, as something else" % name)
    return known


def _family_name(kind, name):
    """Without what a counter has at its end."""
    return name[: -len("_total")] if kind == "counter" else name


def _sample_names(kind, name):
    """The names that its samples may have, in any format."""
    name = _family_name(kind, name)
    return [name] + [name + end for end in _ENDS.get(kind, ())]


def _nothing(amount=1):
    """In place of what would count, where nothing is counted, or a series does not fit."""


class _Timer:
    """``with metric.time():`` and ``@metric.time()``: seconds, also if an exception ends them."""

    def __init__(self, tell):
        self._tell = tell
        self._starts = []

    def __enter__(self):
        self._starts.append(_time.perf_counter())
        return self

    def __exit__(self, kind, error, traceback):
        self._tell(_time.perf_counter() - self._starts.pop())

    def __call__(self, function):
        tell = self._tell

        @functools.wraps(function)
        def timed(*args, **named):
            with _Timer(tell):
                return function(*args, **named)

        return timed


class _Counted:
    """A series of a counter."""

    def __init__(self, series):
        self.inc = series.inc if series else _nothing


class _Gauged:
    """A series of a gauge."""

    def __init__(self, series):
        self.inc = series.inc if series else _nothing
        self.dec = series.dec if series else _nothing
        self.set = series.set if series else _nothing

    def set_to_current_time(self):
        self.set(_time.time())

    def track_inprogress(self):
        """``with`` it, or as a decorator: one more as long as that runs."""
        return _InProgress(self)

    def time(self):
        """``with`` it, or as a decorator: the seconds that it took last."""
        return _Timer(self.set)


class _InProgress:
    def __init__(self, gauge):
        self._gauge = gauge

    def __enter__(self):
        self._gauge.inc()

    def __exit__(self, kind, error, traceback):
        self._gauge.dec()

    def __call__(self, function):
        @functools.wraps(function)
        def tracked(*args, **named):
            with self:
                return function(*args, **named)

        return tracked


class _Observed:
    """A series of a histogram."""

    def __init__(self, series):
        self.observe = series.observe if series else _nothing

    def time(self):
        """``with`` it, or as a decorator: observes the seconds that it took."""
        return _Timer(self.observe)


class _Metric:
    def __init__(self, definition):
        self._definition = definition
        self._known = {}
        if not definition[3]:
            # The one series that there is.
            self._sample.__init__(self, _series(*definition, ()))

    def __getattr__(self, name):
        # What counts is missing only where there are labels.
        definition = self.__dict__.get("_definition")
        if definition and definition[3] and name in ("inc", "dec", "set", "observe"):
            raise AttributeError("%s has labels: %s() is one of its labels(%s)" % (definition[1], name, ", ".join(definition[3])))
        raise AttributeError("%r object has no attribute %r" % (type(self).__name__, name))

    def labels(self, *values, **named):
        """The series with these values, in the order of the labels or by their names."""
        try:
            return self._known[values]
        except (KeyError, TypeError):
            pass
        _, name, _, labels, _ = self._definition
        if named:
            if values or set(named) != set(labels):
                raise ValueError("%s has the labels %s" % (name, ", ".join(labels) or "(none)"))
            values = [named[label] for label in labels]
        if not labels or len(values) != len(labels):
            raise ValueError("%s has the labels %s" % (name, ", ".join(labels) or "(none)"))
        values = tuple(str(value) for value in values)
        sample = self._known.get(values)
        if sample is None:
            series = _series(*self._definition, values)
            sample = self._sample(series)
            # What does not fit is asked for again, and counted each time.
            if series:
                sample = self._known.setdefault(values, sample)
        return sample


class Counter(_Metric, _Counted):
    _sample = _Counted


class Gauge(_Metric, _Gauged):
    _sample = _Gauged


class Histogram(_Metric, _Observed):
    _sample = _Observed
