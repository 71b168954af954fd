"""Iterables, close(), Content-Length bookkeeping (SPEC C17 to C31)."""

import os
import sys
import threading
import time

from dispatch import by_path
from shared import TEXT, events, gates, hello, key, open_gate, recorded, wait_at_gate


class Closing(object):
    """An iterable that writes down what is done to it. `script` holds blocks, and callables that are called."""

    def __init__(self, environ, script):
        self.name = key(environ)
        self.script = iter(script)
        events[self.name].append("made")

    def __iter__(self):
        return self

    def __next__(self):
        step = next(self.script)
        if callable(step):
            step = step()
        events[self.name].append("next")
        return step

    def close(self):
        events[self.name].append("close")


def raises(error):
    def step():
        raise error

    return step


# -- Forms of iterables


def as_tuple(environ, start_response):
    start_response("200 OK", TEXT)
    return (b"tu", b"ple")


def as_iterator(environ, start_response):
    start_response("200 OK", TEXT)
    return iter([b"ite", b"rator"])


def as_getitem_sequence(environ, start_response):
    class Sequence(object):
        def __getitem__(self, index):
            return (b"get", b"item")[index]

    start_response("200 OK", TEXT)
    return Sequence()


def as_object_with_iter(environ, start_response):
    """Iterated once; nothing is asked of it but what a gateway may ask."""
    name = key(environ)

    class Nosy(object):
        def __iter__(self):
            events[name].append("iter")
            return iter((b"ob", b"ject"))

        def __getattr__(self, attribute):
            events[name].append(attribute)
            raise AttributeError(attribute)

    start_response("200 OK", TEXT)
    return Nosy()


def as_list_subclass(environ, start_response):
    name = key(environ)

    class Blocks(list):
        def close(self):
            events[name].append("close")

    start_response("200 OK", TEXT)
    return Blocks([b"sub", b"class"])


def as_dict_keys(environ, start_response):
    start_response("200 OK", TEXT)
    return {b"dict": 1, b"keys": 2}.keys()


def as_set(environ, start_response):
    start_response("200 OK", TEXT)
    return {b"set"}


class as_class(object):
    """A class is an application as well: its instance is the iterable."""

    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", TEXT)
        yield b"class"


# -- start_response inside the iteration


def late_start(environ, start_response):
    start_response("418 Late", TEXT + [("X-Late", "yes")])
    yield b"a"


def late_start_after_empty(environ, start_response):
    yield b""
    start_response("418 Late", [("X-Late", "yes")])
    yield b""
    yield b"a"


def block_before_start(environ, start_response):
    yield b"too early"
    start_response("200 OK", TEXT)


def never_started(environ, start_response):
    return []


def never_started_generator(environ, start_response):
    return
    yield


def empty_then_raise(environ, start_response):
    start_response("200 OK", [("X-Dropped", "1")])
    yield b""
    raise ValueError("after an empty block")


# -- Pace


def step_by_step(environ, start_response):
    """Each block must be out before the next is asked for: the client opens the gate when it has seen it."""
    start_response("200 OK", TEXT)
    yield b"first;"
    wait_at_gate(key(environ) + "-1")
    yield b""
    yield b"second;"
    wait_at_gate(key(environ) + "-2")
    yield b"third"


def list_blocks(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"a" * 10, b"", b"b" * 70000, b"c"]


# -- close()


def closing(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ, [b"a", b"b"])


def closing_iterator_apart(environ, start_response):
    """The iterator has a close() of its own, which isn't the gateway's business."""
    name = key(environ)

    class Iterator(object):
        def __init__(self):
            self.blocks = [b"b", b"a"]

        def __iter__(self):
            return self

        def __next__(self):
            if not self.blocks:
                raise StopIteration
            return self.blocks.pop()

        def close(self):
            events[name].append("iterator closed")

    class Iterable(object):
        def __iter__(self):
            return Iterator()

        def close(self):
            events[name].append("close")

    start_response("200 OK", TEXT)
    return Iterable()


def closing_raise_first(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ, [raises(ValueError("first block"))])


def closing_raise_later(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ, [b"a", raises(ValueError("second block"))])


def closing_raise_in_iter(environ, start_response):
    class Broken(Closing):
        def __iter__(self):
            raise ValueError("in iter()")

    start_response("200 OK", TEXT)
    return Broken(environ, [])


def closing_bad_item(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ, [b"a", "text"])


def closing_never_started(environ, start_response):
    return Closing(environ, [])


def closing_too_long(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "3")])
    return Closing(environ, [b"ab", b"cdef", b"never asked for"])


def closing_endless(environ, start_response):
    start_response("200 OK", TEXT)

    def blocks():
        while True:
            yield b"x" * 1000

    return Closing(environ, blocks())


def closing_empty_for_ever(environ, start_response):
    """Never ends after all that Content-Length promises."""
    start_response("200 OK", TEXT + [("Content-Length", "1")])

    def blocks():
        yield b"a"
        while True:
            yield b""

    return Closing(environ, blocks())


def closing_waiting(environ, start_response):
    """Has nothing to say yet."""
    start_response("200 OK", TEXT)

    def blocks():
        while True:
            time.sleep(0.005)
            yield b""

    return Closing(environ, blocks())


def closing_waiting_at_gate(environ, start_response):
    """Has nothing to say behind the gate either."""
    name = key(environ)
    start_response("200 OK", TEXT)

    def blocks():
        yield b""
        wait_at_gate(name)
        while True:
            time.sleep(0.005)
            yield b""

    return Closing(environ, blocks())


def closing_slow(environ, start_response):
    """close() ends when the gate opens."""
    name = key(environ)

    class Slow(Closing):
        def close(self):
            wait_at_gate(name)
            Closing.close(self)
            events[name].append("same thread" if threading.get_ident() == thread else "another thread")

    thread = threading.get_ident()
    start_response("200 OK", TEXT)
    return Slow(environ, [b"body"])


def closing_raises(environ, start_response):
    class Failing(Closing):
        def close(self):
            Closing.close(self)
            raise ValueError("from close()")

    start_response("200 OK", TEXT)
    return Failing(environ, [b"body"])


def closing_no_content(environ, start_response):
    start_response("204 No Content", [])
    return Closing(environ, [b"dropped"])


def finally_runs(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "1")])
    try:
        yield b"a"
        yield b"b"
    finally:
        events[key(environ)].append("finally")


def close_attribute_none(environ, start_response):
    class Odd(list):
        close = None

    start_response("200 OK", TEXT)
    return Odd([b"odd"])


# -- Items and results of wrong types

WRONG = {
    "str": "text",
    "int": 1,
    "every second": memoryview(b"x-y-")[::2],
    "none": None,
    "list": [b"x"],
    "float": 1.5,
}


def wrong_first_item(environ, start_response):
    start_response("200 OK", TEXT)
    return [WRONG[key(environ)], b"never"]


def wrong_second_item(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"a"
    yield WRONG[key(environ)]


def wrong_second_item_of_list(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"a", WRONG[key(environ)]]


def wrong_result(environ, start_response):
    start_response("200 OK", TEXT)
    return {"none": None, "int": 1, "str": "text", "function": wrong_result}[key(environ)]


# -- Content-Length


def too_long(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "3")])
    return [b"ab", b"cdef"]


def write_too_long(environ, start_response):
    name = key(environ)
    write = start_response("200 OK", TEXT + [("Content-Length", "3")])
    write(b"abc")
    try:
        write(b"d")
    except Exception as error:
        events[name].append(type(error).__name__)
    else:
        events[name].append("accepted")
    return []


def too_short(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    return [b"four"]


def too_short_tuple(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    return b"fo", b"ur"


def too_short_bytes(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    return b"four"


def too_short_empty(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    return []


def too_short_without_blocks(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    yield b""


def too_short_written(environ, start_response):
    write = start_response("200 OK", TEXT + [("Content-Length", "10")])
    write(b"fo")
    return [b"ur"]


def too_short_generator(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    yield b"four"


def zero_length(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "0")])
    return []


def exact_in_pieces(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "6")])
    yield b"ab"
    yield b"cdef"


# -- HEAD: the method is the client's


def method(environ, start_response):
    """The method in a header, for HEAD has no body."""
    start_response("200 OK", TEXT + [("X-Method", environ["REQUEST_METHOD"])])
    return [b"body"]


def generator(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"a"
    yield b"b"


def empty_list(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def declared(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "4")])
    return [b"body"]


def declared_empty(environ, start_response):
    """As a HEAD-aware framework answers: length without the body."""
    start_response("200 OK", TEXT + [("Content-Length", "1000")])
    return []


# -- Sizes


PATTERN = bytes(range(251))


def pattern_blocks(environ):
    """Blocks of the sizes in the query, which together are 0, 1, ... 250, 0, 1, ..."""
    start = 0
    for size in map(int, key(environ).split(",")):
        whole = PATTERN[start:] + PATTERN * (size // 251 + 1)
        start = (start + size) % 251
        yield whole[:size]


def pattern_list(environ, start_response):
    start_response("200 OK", TEXT)
    return list(pattern_blocks(environ))


def pattern_generator(environ, start_response):
    start_response("200 OK", TEXT)
    return pattern_blocks(environ)


def closing_big(environ, start_response):
    start_response("200 OK", TEXT)
    return Closing(environ, [b"x" * (8 << 20)])


# -- Stalled readers


produced = {}


def one_gibibyte(environ, start_response):
    name = key(environ)
    start_response("200 OK", TEXT)
    block = b"x" * 65536

    def blocks():
        for _ in range(16384):
            produced[name] = produced.get(name, 0) + len(block)
            yield block

    return Closing(environ, blocks())


def how_much(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(produced.get(key(environ), 0)).encode()]


def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


def fifteen_kibibytes(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"x" * (15 * 1024)]


application = by_path(globals())
