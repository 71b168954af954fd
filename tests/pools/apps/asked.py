"""Requests to be looked at and ended. The directory has what they wait for, and what they note."""

import ctypes
import os
import threading
import time


def beside():
    threading.Event().wait()


def note(text):
    with open("notes", "a", encoding="ascii") as notes:
        notes.write(text + "\n")


def sleeps(environ):
    time.sleep(60)


def waits(environ):
    try:
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.005)
    except BaseException as error:
        note("%s: %s" % (type(error).__name__, error))
        raise


def ignores(environ):
    while not os.path.exists(environ["QUERY_STRING"]):
        try:
            time.sleep(0.005)
        except BaseException as error:
            note("ignored: " + type(error).__name__)


def holds(environ):
    """Reads the FIFO of the query by C code that keeps the interpreter's lock."""
    ctypes.PyDLL(None).system("cat '{}'".format(environ["QUERY_STRING"]).encode())


def begins(environ):
    yield b"begun"
    waits(environ)


PATHS = {"/sleeps": sleeps, "/waits": waits, "/ignores": ignores, "/holds": holds}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/begins":
        return begins(environ)
    if path in PATHS:
        PATHS[path](environ)
    return [str(os.getpid()).encode()]


def imports():
    while os.path.exists("hold"):
        time.sleep(0.005)


threading.Thread(target=beside, name="beside", daemon=True).start()
imports()
