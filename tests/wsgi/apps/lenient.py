"""What is against PEP 3333 and clear in its meaning (SPEC C0): one function for each kind."""

import os
import time

from dispatch import by_path
from shared import TEXT, hello


def status_alone(environ, start_response):
    start_response("404", TEXT)
    return [b"body"]


def status_over_599(environ, start_response):
    start_response("999 Own", TEXT)
    return [b"body"]


def headers_in_tuple(environ, start_response):
    start_response("200 OK", (("Content-Type", "text/plain"), ("X-Second", "2")))
    return [b"body"]


def header_in_list(environ, start_response):
    start_response("200 OK", [["Content-Type", "text/plain"], ("X-Second", "2")])
    return [b"body"]


def spaced_length(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", " 4 ")])
    return [b"body"]


def connection_close(environ, start_response):
    start_response("200 OK", TEXT + [("Connection", "close"), ("X-Second", "2")])
    return [b"body"]


def connection_keep_alive(environ, start_response):
    start_response("200 OK", TEXT + [("connection", "Keep-Alive, close")])
    return iter([b"bo", b"dy"])


def started_again(environ, start_response):
    try:
        start_response("200 O\x00K", TEXT)
    except ValueError:
        start_response("200 OK", TEXT)
    return [b"body"]


def bytearray_block(environ, start_response):
    start_response("200 OK", TEXT)
    return [bytearray(b"bo"), b"dy"]


def bytearray_yielded(environ, start_response):
    start_response("200 OK", TEXT)
    yield bytearray()
    yield bytearray(b"bo")
    yield b"dy"


def memoryview_block(environ, start_response):
    start_response("200 OK", TEXT)
    return [memoryview(b"body")]


def bytes_alone(environ, start_response):
    start_response("200 OK", TEXT)
    return b"body"


def written_head(environ, start_response):
    """The head goes out by write()."""
    start_response("200", TEXT)(b"bo")
    return [b"dy"]


def which_worker(environ, start_response):
    """Long enough for another worker to take the next one."""
    time.sleep(0.02)
    start_response("200", TEXT)
    return [str(os.getpid()).encode()]


application = by_path(globals())
