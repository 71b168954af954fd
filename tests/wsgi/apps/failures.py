"""Applications that fail in every way (SPEC C36 to C40, E)."""

import os
import signal
import sys
import threading
import time

from dispatch import by_path
from shared import TEXT, events, gates, hello, key, open_gate, recorded, wait_at_gate


class Strange(BaseException):
    """Neither an Exception nor anything that Python knows."""


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


ERRORS = {
    "ValueError": lambda: ValueError("the secret reason"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt(),
    "GeneratorExit": lambda: GeneratorExit(),
    "StopIteration": lambda: StopIteration(b"value"),
    "Strange": lambda: Strange("strange"),
    "Unprintable": lambda: Unprintable(),
    "ConnectionResetError": lambda: ConnectionResetError(104, "the application's own database"),
    "BrokenPipeError": lambda: BrokenPipeError(32, "the application's own pipe"),
    "OSError": lambda: OSError(5, "the application's own disk"),
    "MemoryError": lambda: MemoryError(),
    "RecursionError": lambda: RecursionError("too deep"),
    "UnicodeError": lambda: UnicodeError("caf\xe9 \udc80"),
}


def in_call(environ, start_response):
    raise ERRORS[key(environ)]()


def in_call_after_start(environ, start_response):
    start_response("200 OK", [("X-Dropped", "1"), ("Content-Length", "5")])
    raise ERRORS[key(environ)]()


class Failing(object):
    def __init__(self, where, error, first=b"a"):
        self.where, self.error, self.first, self.count = where, error, first, 0

    def fail(self, where):
        if self.where == where:
            raise self.error

    def __iter__(self):
        self.fail("iter")
        return self

    def __next__(self):
        self.count += 1
        if self.count == 1:
            self.fail("first")
            return self.first
        self.fail("second")
        raise StopIteration

    def close(self):
        self.fail("close")


def in_iter(environ, start_response):
    start_response("200 OK", TEXT)
    return Failing("iter", ERRORS[key(environ)]())


def in_first(environ, start_response):
    start_response("200 OK", TEXT)
    return Failing("first", ERRORS[key(environ)]())


def in_second(environ, start_response):
    start_response("200 OK", TEXT)
    return Failing("second", ERRORS[key(environ)]())


def in_second_declared(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "10")])
    return Failing("second", ERRORS[key(environ)]())


def in_close(environ, start_response):
    start_response("200 OK", TEXT)
    return Failing("close", ERRORS[key(environ)]())


def after_write(environ, start_response):
    start_response("200 OK", TEXT)(b"a")
    raise ERRORS[key(environ)]()


def recursion(environ, start_response):
    def deeper():
        return deeper() + 1

    deeper()


def sleeps(environ, start_response):
    """Longer than any timeout of the tests, in steps that an exception can end."""
    name = key(environ)
    events[name].append("called")
    try:
        for _ in range(3000):
            time.sleep(0.01)
    except BaseException as error:
        events[name].append(type(error).__name__)
        raise
    start_response("200 OK", TEXT)
    return [b"awake"]


def sleeps_after_head(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun;"
    for _ in range(3000):
        time.sleep(0.01)


def exits(environ, start_response):
    """Ends the process as no application should."""
    os._exit(7)


def exits_after_head(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun;"
    wait_at_gate(key(environ))
    os._exit(7)


def segfaults(environ, start_response):
    import ctypes

    ctypes.string_at(0)


def segfaults_after_head(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun;"
    wait_at_gate(key(environ))
    import ctypes

    ctypes.string_at(0)


def aborts(environ, start_response):
    os.abort()


def kills_itself(environ, start_response):
    os.kill(os.getpid(), signal.SIGKILL)


def waits(environ, start_response):
    """Runs until its gate opens."""
    name = key(environ)
    events[name].append("called")
    wait_at_gate(name)
    events[name].append("done")
    start_response("200 OK", TEXT)
    return [b"waited"]


def holds_gil(environ, start_response):
    """Reads the FIFO of the query by C code that keeps the interpreter's lock. Who can open it knows that it is held."""
    import ctypes

    ctypes.PyDLL(None).system("cat '{}'".format(key(environ)).encode())
    start_response("200 OK", TEXT)
    return [b"held"]


def log_injection(environ, start_response):
    raise ValueError("line one\nFAKE log line\x1b[31m\rreturned")


def lacks(environ, start_response):
    """The query: how many bytes come, and how many are missing from Content-Length."""
    sent, missing = map(int, key(environ).split(","))
    start_response("200 OK", TEXT + [("Content-Length", str(sent + missing))])
    while sent:
        yield b"x" * min(sent, 10000)
        sent -= min(sent, 10000)


application = by_path(globals())
