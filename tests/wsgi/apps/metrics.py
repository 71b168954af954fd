"""What an application counts."""

import os
import time

from dispatch import by_path
from shared import TEXT, hello
from wsgi_fpm import metrics

HITS = metrics.counter("hits", "Requests, \"all\".\nOf any kind.", ["page"])
ALL = metrics.counter("all_total")
BUSY = metrics.gauge("busy", "What runs.")
AGE = metrics.gauge("age_seconds", merge="max")
LAST = metrics.gauge("last", merge="latest")
TOOK = metrics.histogram("took_seconds", labels=("page",), buckets=(0.1, 1, float("inf")))
AGE.set(7)


def answered(start_response, text):
    start_response("200 OK", TEXT)
    return [str(text).encode()]


def hit(environ, start_response):
    page = environ["QUERY_STRING"]
    HITS.labels(page).inc()
    ALL.inc()
    TOOK.labels(page=page).observe(0.5)
    LAST.set(2)
    return answered(start_response, os.getpid())


def raise_busy(environ, start_response):
    BUSY.inc(float(environ["QUERY_STRING"]))
    return answered(start_response, os.getpid())


def forks(environ, start_response):
    child = os.fork()
    if not child:
        ALL.inc(10)
        BUSY.set(1000)
        os._exit(0)
    os.waitpid(child, 0)
    return answered(start_response, "forked")


def many(environ, start_response):
    for number in range(20):
        HITS.labels(number).inc()
    HITS.labels("x" * 2000).inc()
    return answered(start_response, "counted")


def large(environ, start_response):
    """One histogram that no memory of a few series has room for, and one that it has."""
    for name, buckets in (("large", 10000), ("small", 5)):
        metrics.histogram(name, buckets=range(buckets)).observe(1)
    return answered(start_response, "counted")


def once_more(environ, start_response):
    """A module that is loaded anew has the same gauges."""
    import importlib

    lowest = metrics.gauge("lowest", merge="min")
    lowest.set(5)
    importlib.reload(metrics).gauge("lowest", merge="min").inc()
    return answered(start_response, "made")


def costs(environ, start_response):
    """Nanoseconds of a call, beside those of an empty loop."""
    child, observed, number = HITS.labels("bound"), TOOK.labels("bound"), 200000

    def of(call, *args):
        best = None
        for _ in range(5):
            begun = time.perf_counter_ns()
            for _ in range(number):
                call(*args)
            took = (time.perf_counter_ns() - begun) / number
            best = took if best is None else min(best, took)
        return best

    calls = {
        "nothing": of(lambda: None),
        "inc": of(child.inc),
        "set": of(AGE.set, 7),
        "observe": of(observed.observe, 0.5),
        "labels": of(HITS.labels, "bound"),
    }
    return answered(start_response, calls)


def interface(environ, start_response):
    """Everything that can be called, and what is refused."""
    gauge = metrics.gauge("interface_now", labels=["a", "b"])
    gauge.labels("1", "2").set(5)
    gauge.labels(1, 2).dec()
    gauge.labels(b=2, a=1).inc(0.5)
    seconds = metrics.gauge("interface_seconds")
    with seconds.time():
        pass
    seconds.set_to_current_time()
    running = metrics.gauge("interface_running")
    seen = []

    @running.track_inprogress()
    @TOOK.labels("timed").time()
    def timed(value):
        seen.append(value)
        return value

    assert timed(3) == 3 and seen == [3] and timed.__name__ == "timed"
    try:
        with TOOK.labels("timed").time():
            raise KeyError
    except KeyError:
        pass
    assert metrics.counter("hits", "Other help.", ["page"]) is HITS
    try:
        HITS.inc()
    except AttributeError as error:
        assert str(error) == "hits_total has labels: inc() is one of its labels(page)", error
    else:
        raise AssertionError
    assert not hasattr(HITS, "set_to_current_time") and not hasattr(ALL, "sum")
    # What is no text, and what is none that can be shown.
    HITS.labels([1, "\udc80"]).inc()
    TOOK.labels("timed").observe(float("nan"))
    for wrong in (
        lambda: metrics.counter("hits"),
        lambda: metrics.gauge("hits_total"),
        lambda: metrics.counter("two words"),
        # What nothing is left of without the end that counters have.
        lambda: metrics.counter(""),
        lambda: metrics.counter("_total"),
        lambda: metrics.gauge(""),
        lambda: metrics.histogram(""),
        lambda: metrics.counter("1_total"),
        lambda: metrics.counter("c", labels=[""]),
        lambda: metrics.counter("wsgi_fpm_hits"),
        lambda: metrics.counter("c", labels=["__a"]),
        lambda: metrics.counter("c", labels=["a", "a"]),
        lambda: metrics.counter("c", labels="ab"),
        lambda: metrics.histogram("h", labels=["le"]),
        lambda: metrics.counter("c", labels=["le"]),
        lambda: metrics.gauge("g", labels=["exported_pool"]),
        lambda: metrics.counter("c", labels=[1]),
        lambda: metrics.counter(None),
        # Their series would have the names of others.
        lambda: metrics.gauge("hits"),
        lambda: metrics.gauge("hits_created"),
        lambda: metrics.histogram("hits"),
        lambda: metrics.gauge("took_seconds_bucket"),
        lambda: metrics.gauge("took_seconds_count"),
        lambda: metrics.counter("took_seconds_sum"),
        lambda: metrics.gauge("all"),
        lambda: metrics.histogram("h", buckets=[]),
        lambda: metrics.histogram("h", buckets=[2, 1]),
        lambda: metrics.histogram("h", buckets=[float("nan")]),
        lambda: metrics.gauge("g", merge="average"),
        lambda: HITS.labels(),
        lambda: HITS.labels("a", "b"),
        lambda: HITS.labels(path="a"),
        lambda: ALL.labels(),
        lambda: ALL.inc(-1),
        lambda: ALL.inc(float("nan")),
    ):
        try:
            wrong()
        except ValueError as error:
            assert str(error), wrong
        else:
            import inspect

            raise AssertionError(inspect.getsource(wrong))
    return answered(start_response, "all right")


application = by_path(globals())
