"""Children that an application makes by forking, and what they find in themselves."""

import ctypes
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

from dispatch import by_path
from shared import TEXT, hello, key

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2]
fork = multiprocessing.get_context("fork")
lock = threading.Lock()
executor = None


def answer(start_response, text):
    start_response("200 OK", TEXT)
    return [str(text).encode()]


def pid(environ, start_response):
    return answer(start_response, os.getpid())


def lingers(environ, start_response):
    """A child that stays until it is killed; its pid. With a query it leaves its process group before."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        if key(environ):
            os.setsid()
        os.write(write, b"x")
        while True:
            time.sleep(60)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    return answer(start_response, child)


def lingers_by_c(environ, start_response):
    """The same by C's fork, of which Python knows nothing."""
    libc = ctypes.CDLL(None)
    child = libc.fork()
    if child == 0:
        while True:
            libc.pause()
    return answer(start_response, child)


def found(environ, start_response):
    """What a child has of descriptors that are no file, pipe or device, and of signal handlers."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            names = []
            for number in os.listdir("/proc/self/fd"):
                try:
                    names.append(os.readlink("/proc/self/fd/" + number).split(":")[0])
                except OSError:
                    pass
            with open("/proc/self/status") as status:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in status)
            caught = int(fields["SigCgt"], 16)
            found = {
                "descriptors": sorted(name for name in names if name in ("socket", "anon_inode")),
                "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in SIGNALS],
                "caught": [number for number in SIGNALS[1:] + [signal.SIGSTKFLT] if caught >> (number - 1) & 1],
                "blocked": int(fields["SigBlk"], 16),
            }
            os.write(write, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as result:
        text = result.read()
    os.waitpid(child, 0)
    start_response("200 OK", TEXT)
    return [text]


def keeps_own_handler(environ, start_response):
    """A handler that the application has set works in its children, too."""
    child = fork.Process(target=waits_for_own_handler)
    child.start()
    while child.is_alive():
        os.kill(child.pid, signal.SIGUSR1)
        child.join(0.05)
    return answer(start_response, child.exitcode)


def waits_for_own_handler():
    time.sleep(60)


def own_handler(number, frame):
    os._exit(7)


signal.signal(signal.SIGUSR1, own_handler)


def square(number):
    return number * number


def pool(environ, start_response):
    with fork.Pool(2) as workers:
        return answer(start_response, sum(workers.map(square, range(10))))


def executes(environ, start_response):
    """The first request makes the executor, whose processes stay."""
    global executor
    with lock:
        if executor is None:
            executor = ProcessPoolExecutor(2, mp_context=fork)
    total = sum(executor.map(square, range(10)))
    start_response("200 OK", TEXT + [("Content-Length", "3")])
    return [str(total).encode()]


def started_otherwise(environ, start_response):
    """By the method of the query: spawn or forkserver."""
    with multiprocessing.get_context(key(environ)).Pool(1) as workers:
        return answer(start_response, sum(workers.map(square, range(10))))


def terminates(environ, start_response):
    """As often as the query says, at once: the signal comes before the child has run a line of Python."""
    codes = set()
    for _ in range(int(key(environ))):
        process = fork.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(20)
        codes.add(process.exitcode)
    return answer(start_response, codes)


def comes_back(environ, start_response):
    """The child returns from the application in the way of the query; its exit code."""
    child = os.fork()
    if child == 0:
        way = key(environ)
        if way == "raises":
            raise RuntimeError("in the child")
        if way == "exits":
            sys.exit(5)
        if way == "speaks":
            print("the child prints", flush=True)
            environ["wsgi.errors"].write("the child complains\n")
            sys.exit("the child's last words")
        if way == "reads":
            environ["wsgi.input"].read()
        if way == "writes":
            start_response("200 OK", TEXT)(b"from the child")
        start_response("200 OK", TEXT)
        return [b"from the child"]
    _, status = os.waitpid(child, 0)
    return answer(start_response, os.WEXITSTATUS(status))


def leader(environ, start_response):
    return answer(start_response, os.getppid())


def orphan(environ, start_response):
    """A grandchild that ends when its parent has."""
    child = os.fork()
    if child == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.01)
        os._exit(0)
    os.waitpid(child, 0)
    return answer(start_response, "")


def kill(environ, start_response):
    os.kill(os.getpid(), signal.SIGKILL)


application = by_path(globals())
