"""What an import does to its process: the variable IMPORT names it, ARGUMENT says more."""

import ctypes
import faulthandler
import functools
import io
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings

from dispatch import by_path
from shared import TEXT, gates, hello, open_gate, wait_at_gate  # noqa: F401

ARGUMENT = os.environ.get("ARGUMENT", "")
NATIVE = ctypes.CDLL(None)


def nothing():
    pass


# Streams


class Stream:
    """As some loggers and capturing libraries have it: no fileno()."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


def replaces_streams_by_an_object():
    sys.stdout = sys.stderr = Stream()


def replaces_streams_by_memory():
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()


def replaces_streams_by_none():
    sys.stdout = sys.stderr = None


def closes_streams():
    sys.stdout.close()
    sys.stderr.close()


def detaches_streams():
    # Kept, or the descriptors would be closed.
    global DETACHED
    DETACHED = sys.stdout.detach(), sys.stderr.detach()


def is_nice_and_filters_warnings():
    os.nice(5)
    warnings.simplefilter(ARGUMENT)


# Crashes


def enables_faulthandler():
    global OWN_FILE
    OWN_FILE = open(ARGUMENT, "a")
    faulthandler.enable(OWN_FILE)


def crashes(environ, start_response):
    ctypes.string_at(0)


def enables_faulthandler_and_crashes(environ, start_response):
    enables_faulthandler()
    crashes(environ, start_response)


def overflows(environ, start_response):
    """The C library compiles nested brackets by recursion."""
    NATIVE.regcomp(ctypes.create_string_buffer(1024), b"(" * 4000000, 1)


def overflows_outside_the_main_thread(environ, start_response):
    if threading.current_thread() is threading.main_thread():
        wait_at_gate("never")
    overflows(environ, start_response)


# Signals


def gives_sigpipe_its_default():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def large_file(environ, start_response):
    file = tempfile.TemporaryFile()
    file.truncate(64 << 20)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](file)


def mask(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))).encode()]


TICKS = []


def sets_a_timer():
    signal.signal(signal.SIGALRM, lambda number, frame: TICKS.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def reads(environ, start_response):
    """What reading the body raises, and how many signals were handled meanwhile."""
    del TICKS[:]
    error = None
    try:
        environ["wsgi.input"].read()
    except Exception as caught:
        error = caught
    handled = len(TICKS)
    start_response("200 OK", TEXT)
    return [("%s: %s; %d" % (type(error).__name__, error, handled)).encode()]


def writes(environ, start_response):
    """More than the peer reads. What it raises is in the log."""
    del TICKS[:]
    write = start_response("200 OK", TEXT)
    try:
        for _ in range(1000):
            write(b"x" * 65536)
    except Exception as error:
        print("writing: %s: %s; %s" % (type(error).__name__, error, "handled" if TICKS else "nothing handled"))
        raise


class Alarm(Exception):
    pass


def raises_at_an_alarm():
    def raises(number, frame):
        raise Alarm("it is time")

    signal.signal(signal.SIGALRM, raises)


def reads_until_an_alarm(environ, start_response):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return reads(environ, start_response)


def writes_until_an_alarm(environ, start_response):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return writes(environ, start_response)


# Prints


def prints_and_waits():
    print("printed at once")
    while not os.path.exists(ARGUMENT):
        time.sleep(0.01)
    print("printed late")
    print("without an end", end="")


def takes_long():
    time.sleep(float(ARGUMENT))


# Descriptors


def opens_a_library():
    # As libffi does since 3.5, which ctypes loads.
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if " r-xp " in line and "/libc" in line)
    os.open(path, os.O_RDONLY)


def opens_a_file():
    os.open(__file__, os.O_RDONLY)


# Random numbers: as docs/options.md has it.


def draws_random_numbers():
    global generator
    generator = random.Random()
    os.register_at_fork(after_in_child=generator.seed)


def number(environ, start_response):
    # Long enough that another request goes to another worker.
    time.sleep(0.2)
    start_response("200 OK", TEXT)
    return [b"%d %d" % (os.getpid(), generator.getrandbits(64))]


# Threads


def starts_a_thread():
    threading.Thread(target=time.sleep, args=(60,), name="collector of metrics", daemon=True).start()


def starts_a_native_thread():
    thread = ctypes.c_ulong()
    NATIVE.pthread_create(ctypes.byref(thread), None, NATIVE.pause, None)


BEATS = []


def starts_a_heartbeat():
    def beat():
        while True:
            BEATS.append(None)
            time.sleep(0.01)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


def beats(environ, start_response):
    # Long enough that another request goes to another worker.
    time.sleep(0.2)
    start_response("200 OK", TEXT)
    return [b"%d %d" % (os.getpid(), len(BEATS))]


def starts_two_threads():
    starts_a_heartbeat()
    starts_a_thread()


def starts_a_thread_whose_name_is_no_text():
    """As the system has it of a name that was cut within a character."""
    named = threading.Event()

    def run():
        ctypes.CDLL(None).prctl(15, b"caf\xc3", 0, 0, 0)  # PR_SET_NAME
        named.set()
        threading.Event().wait()

    threading.Thread(target=run, name="cafeteria", daemon=True).start()
    named.wait()


def computes_with_a_pool():
    """ARGUMENT is a library whose `sum_up` computes with threads of OpenMP."""
    global POOL
    POOL = ctypes.CDLL(ARGUMENT)
    POOL.sum_up()


def pooled(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"%d" % POOL.sum_up()]


def sets_a_late_timer():
    signal.signal(signal.SIGALRM, lambda number, frame: TICKS.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)


def ticks(environ, start_response):
    end = time.monotonic() + 10
    while not TICKS and time.monotonic() < end:
        time.sleep(0.01)
    start_response("200 OK", TEXT)
    return [b"ticks" if TICKS else b"silent"]


# Sockets


def connects():
    """To the address in ARGUMENT, and listens on a free port."""
    global CONNECTED, LISTENING
    host, port = ARGUMENT.rsplit(":", 1)
    CONNECTED = socket.create_connection((host, int(port)))
    LISTENING = socket.socket()
    LISTENING.bind(("127.0.0.1", 0))
    LISTENING.listen()


def listens_on_unix():
    global LISTENING
    LISTENING = socket.socket(socket.AF_UNIX)
    LISTENING.bind(ARGUMENT)


# Other applications


async def coroutine(scope, receive, send):
    pass


class Asynchronous:
    async def __call__(self, scope, receive, send):
        pass


asynchronous = Asynchronous()


class OfTwoCalls:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


def by_names(scope, receive, send):
    pass


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        start_response = args[1]
        start_response("200 OK", TEXT)
        return [b"hello"]

    return wrapper


# What it wraps is ASGI; what it is, is not.
bridge = decorated(coroutine)
partial = functools.partial(hello)


class Iterable:
    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", TEXT)
        yield b"hello"


class InC(dict):
    """Its __call__ is no function of Python's."""

    # Since 3.14 a partial object is bound like a function, unless it is told not to be.
    __call__ = staticmethod(functools.partial(hello))


in_c = InC()


def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


globals()[os.environ.get("IMPORT", "nothing")]()
application = by_path(globals())
