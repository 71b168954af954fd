"""Leaves a file behind when the interpreter ends in order, and one from a thread that is not a daemon."""

import atexit
import os
import signal
import threading

directory = os.environ["MARKERS"]
done = threading.Event()


def mark(name):
    with open(os.path.join(directory, name), "w") as file:
        file.write(threading.current_thread().name)


def stop():
    mark("atexit")


def work():
    threading.main_thread().join()
    mark("thread")


atexit.register(stop)
threading.Thread(target=work, name="worker thread").start()


def on_signal(number, frame):
    mark("handler-in-main" if threading.current_thread() is threading.main_thread() else "handler-elsewhere")


signal.signal(signal.SIGUSR1, on_signal)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
