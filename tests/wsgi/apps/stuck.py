"""Requests that do not end when their time is over (SPEC E4). Workers share no memory: files say what goes on."""

import ctypes
import os
import time

from dispatch import by_path
from shared import TEXT, key


def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


def ignores_everything(environ, start_response):
    """Until a file of the query's name exists."""
    open(key(environ) + ".called", "w").close()
    while not os.path.exists(key(environ)):
        try:
            time.sleep(0.01)
        except BaseException:
            pass
    start_response("200 OK", TEXT)
    return [b"late"]


def waits(environ, start_response):
    """The same, and its client is not answered by anybody else: the response has begun."""
    start_response("200 OK", TEXT)
    open(key(environ) + ".called", "w").close()
    while not os.path.exists(key(environ)):
        time.sleep(0.01)
    return [b"waited"]


def sleeps(environ, start_response):
    for _ in range(3000):
        time.sleep(0.01)


def holds_gil(environ, start_response):
    """Reads the FIFO of the query by C code that keeps the interpreter's lock."""
    ctypes.PyDLL(None).system("cat '{}'".format(key(environ)).encode())
    start_response("200 OK", TEXT)
    return [b"held"]


application = by_path(globals())
