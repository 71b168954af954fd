"""Requests that wait until others have given their threads back (SPEC A23)."""

import time

from dispatch import by_path
from shared import TEXT, events, hello, key, recorded


def held(environ, start_response):
    """Says in the log that it runs, and runs until its body has come."""
    environ["wsgi.errors"].write("held {}\n".format(key(environ)))
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", TEXT)
    return [str(length).encode()]


def called(environ, start_response):
    events[key(environ)].append("called")
    start_response("200 OK", TEXT)
    return [b"called"]


def streamed(environ, start_response):
    """Ten blocks, so slowly that each leaves alone."""
    start_response("200 OK", TEXT)
    for number in range(10):
        yield "block {};".format(number).encode()
        time.sleep(0.03)


def slow(environ, start_response):
    time.sleep(0.005)
    events["slow"].append("called")
    start_response("200 OK", TEXT)
    return [b"slow"]


def count(environ, start_response):
    """How many slow requests this worker has served."""
    start_response("200 OK", TEXT)
    return [str(len(events["slow"])).encode()]


application = by_path(globals())
