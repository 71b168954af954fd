"""What an application does to its process and sees of it (SPEC C51 to C54, C60, F8)."""

import atexit
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib

from dispatch import by_path
from shared import TEXT, events, gates, hello, key, open_gate, recorded, wait_at_gate

local = threading.local()
lock = threading.Lock()
running = [0, 0]


def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


def flags(environ, start_response):
    start_response("200 OK", TEXT)
    names = ("multithread", "multiprocess", "run_once")
    return [" ".join(str(environ["wsgi." + name]) for name in names).encode()]


def concurrency(environ, start_response):
    """Most calls that ran at the same time so far."""
    with lock:
        running[0] += 1
        running[1] = max(running)
    time.sleep(0.005)
    with lock:
        running[0] -= 1
    start_response("200 OK", TEXT)
    return [str(running[1]).encode()]


def threads(environ, start_response):
    """The thread of call, iteration and close; how often it has been here; how many threads Python knows."""
    name = key(environ)
    local.count = getattr(local, "count", 0) + 1
    called = threading.get_ident()

    class Body(object):
        def __iter__(self):
            self.iterated = threading.get_ident()
            yield json.dumps([called, local.count, len(threading.enumerate()), threading.current_thread().name]).encode()
            self.nexted = threading.get_ident()

        def close(self):
            idents = {called, self.iterated, self.nexted, threading.get_ident()}
            events[name].append("one thread" if len(idents) == 1 else "several threads")

    start_response("200 OK", TEXT)
    return Body()


def main_thread_import(environ, start_response):
    start_response("200 OK", TEXT)
    return [repr(IMPORTED_IN_MAIN_THREAD).encode()]


IMPORTED_IN_MAIN_THREAD = threading.current_thread() is threading.main_thread()


def child_descriptors(environ, start_response):
    """Open descriptors that a child inherits, and what our own low ones are."""
    code = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
    output = subprocess.check_output([sys.executable, "-c", code], close_fds=False)
    start_response("200 OK", TEXT)
    return [output]


def forks(environ, start_response):
    """A child that goes its own way through os.fork() and exits by os._exit()."""
    child = os.fork()
    if child == 0:
        os._exit(9)
    _, status = os.waitpid(child, 0)
    start_response("200 OK", TEXT)
    return [str(os.WEXITSTATUS(status)).encode()]


def forks_and_raises(environ, start_response):
    """The child returns into the gateway with an exception, as a careless application's does."""
    child = os.fork()
    if child == 0:
        raise SystemExit(5)
    os.waitpid(child, 0)
    start_response("200 OK", TEXT)
    return [b"parent"]


def closes_descriptor_1(environ, start_response):
    for descriptor in (0, 1):
        try:
            os.close(descriptor)
        except OSError:
            pass
    start_response("200 OK", TEXT)
    return [b"closed"]


def subprocess_output(environ, start_response):
    start_response("200 OK", TEXT)
    return [subprocess.check_output(["echo", "from a child"])]


def aborts_without_python(environ, start_response):
    """In C, where other threads can have Python meanwhile."""
    ctypes.CDLL(None).abort()


def sends_signal(environ, start_response):
    """To itself, as a library's timer does."""
    os.kill(os.getpid(), signal.SIGALRM)
    start_response("200 OK", TEXT)
    return [b"sent"]


def interpreter(environ, start_response):
    body = {
        "version": list(sys.version_info[:2]),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "path": sys.path,
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "flags": [sys.flags.isolated, sys.flags.no_site],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def environment(environ, start_response):
    start_response("200 OK", TEXT)
    return [os.environ.get(key(environ), "absent").encode()]


def waits(environ, start_response):
    """Runs until a file of the query's name exists: workers share no memory."""
    path = key(environ)
    with open(path + ".called", "w") as called:
        called.write(str(os.getpid()))
    deadline = time.monotonic() + 30
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)
    start_response("200 OK", TEXT)
    return [b"waited"]


def digest(environ, start_response):
    """Of the body, and who has read it; after as many milliseconds as the query says."""
    body = environ["wsgi.input"].read()
    time.sleep(int(key(environ) or 0) / 1000)
    start_response("200 OK", TEXT)
    return ["{} {} {}".format(os.getpid(), len(body), zlib.crc32(body)).encode()]


def ignores_everything(environ, start_response):
    """A request that no exception and no signal of Python ends."""
    with open(key(environ), "w"):
        pass
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass


kept = []


def grows(environ, start_response):
    """By so many MiB, for good."""
    kept.append(b"x" * (int(key(environ)) << 20))
    start_response("200 OK", TEXT)
    return [b"grown"]


def crashes(environ, start_response):
    import ctypes

    ctypes.string_at(0)


def exits(environ, start_response):
    os._exit(3)


def never_ends(environ, start_response):
    """What keeps the process from ending, by the query: a function of atexit, or a thread."""
    if key(environ) == "atexit":
        atexit.register(time.sleep, 600)
    else:
        threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    start_response("200 OK", TEXT)
    return [b"never"]


application = by_path(globals())
