"""Answers, and does to its own process what applications do to theirs."""

import os
import signal
import threading
import time

MODE = os.environ["FAULTS_MODE_FILE"]


def mode():
    try:
        with open(MODE, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


if mode() == "never imports":
    time.sleep(1000)
elif mode() == "fails":
    raise RuntimeError("this version is broken")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def fork_a_child():
    """A child that ends by itself, and one that stays as long as the worker lets it."""
    if os.fork() == 0:
        os._exit(0)
    if os.fork() == 0:
        time.sleep(1000)


def fork_and_come_back():
    """The child comes back from the application, as after an exception that somebody has caught."""
    os.fork()


def start_threads():
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def close_descriptors():
    os.closerange(3, 512)


def ignore_the_timeout():
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD})


def take_memory():
    kept = []
    for _ in range(64):
        kept.append(bytearray(16 << 20))


def open_files():
    kept = []
    try:
        while len(kept) < 5000:
            kept.append(open("/dev/null", "rb"))
    finally:
        time.sleep(0.2)
        for file in kept:
            file.close()


def compute():
    """Holds Python for longer than a request may take."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        sum(range(10000))


FAULTS = {
    function.__name__: function
    for function in (
        crash, kill_itself, leave, fork_a_child, fork_and_come_back, start_threads, close_descriptors, ignore_the_timeout,
        block_signals, take_memory, open_files, compute,
    )
}


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    _, what, rest = environ["PATH_INFO"].split("/", 2)
    if what == "fault":
        FAULTS[rest]()
    elif environ["QUERY_STRING"]:
        time.sleep(float(environ["QUERY_STRING"]))
    answer = b"%s %d" % (rest.encode(), len(body))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
