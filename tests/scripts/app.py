import atexit
import os
import signal
import subprocess
import sys
import time


def text(start_response, body, status="200 OK"):
    body = body if isinstance(body, bytes) else str(body).encode("latin-1")
    start_response(status, [("Content-Type", "text/plain; charset=latin-1")])
    return [body]


def application(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def environ_(environ, start_response):
    return text(start_response, "".join("%s=%r\n" % pair for pair in sorted(environ.items())))


def key(environ, start_response):
    return text(start_response, repr(environ.get(environ["QUERY_STRING"], "absent")))


def echo(environ, start_response):
    return text(start_response, environ["wsgi.input"].read())


def echo_stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter(lambda: environ["wsgi.input"].read(65536), b"")


def large(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (bytes([65 + n % 26]) * 65536 for n in range(160))


def large_with_close(environ, start_response):
    class Body:
        def __iter__(self):
            return large(environ, start_response)

        def close(self):
            note("closed")
    return Body()


def noisy(environ, start_response):
    print("printed")
    os.write(1, b"written to descriptor 1\n")
    subprocess.run(["echo", "said by a child"], check=True)
    environ["wsgi.errors"].write("through wsgi.errors\n")
    stdin = sys.stdin.read() + subprocess.run(["cat"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return text(start_response, "stdin=%r" % stdin)


def descriptors(environ, start_response):
    listing = subprocess.run(["ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False, check=True)
    return text(start_response, listing.stdout)


def empty(environ, start_response):
    start_response("200 OK", [])
    return []


def location(environ, start_response):
    start_response("302 Found", [("Location", "/elsewhere")])
    return [b""]


def sendfile(environ, start_response):
    start_response("200 OK", [("X-Sendfile", "/srv/x"), ("X-Other", "1"), ("X-Accel-Redirect", "/x")])
    return [b"instead"]


def fail(environ, start_response):
    raise ValueError("on purpose")


def fail_late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    raise ValueError("on purpose")


def at_exit(environ, start_response):
    class Body(list):
        def close(self):
            note("closed")
    atexit.register(note, "exit")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body([b"ok"])


def lingers(environ, start_response):
    class Body(list):
        def close(self):
            note("closing")
            while not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "go")):
                time.sleep(0.005)
            note("closed")
    atexit.register(note, "exit")
    length = [("Content-Length", "5")] if environ["QUERY_STRING"] == "declared" else []
    start_response("200 OK", [("Content-Type", "text/plain")] + length)
    return Body([b"whole"])


def note(what):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes"), "a") as file:
        file.write(what + "\n")


def two_blocks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    # Until the test says so.
    while not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "go")):
        time.sleep(0.005)
    yield b"second"


class Closing:
    """Blocks whose close() takes until the test says so."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        while not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), "go")):
            time.sleep(0.005)
        note("closed")


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing([b"whole ", b"response"])


def closing_after_failure(environ, start_response):
    def blocks():
        yield b"begun"
        raise ValueError("on purpose")

    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing(blocks())


def closing_after_print(environ, start_response):
    """What prints holds nothing that the web server waits for."""
    os.write(1, b"to descriptor 1\n")
    child = subprocess.Popen(["sleep", "60"])
    atexit.register(child.kill)
    return closing(environ, start_response)


def file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open(os.path.abspath(__file__), "rb"))


def crash(environ, start_response):
    os.kill(os.getpid(), signal.SIGSEGV)
    # Another thread may be the one that gets it.
    time.sleep(60)


def pid(environ, start_response):
    return text(start_response, os.getpid())


def sleep(environ, start_response):
    note("asleep")
    time.sleep(float(environ["QUERY_STRING"]))
    return text(start_response, "slept")


def stubborn(environ, start_response):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def closes_never(environ, start_response):
    class Body(list):
        def close(self):
            stubborn(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Body([b"whole"])


def waits(environ, start_response):
    """In Python again and again; what ends it is noted."""
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.005)
    except BaseException as error:
        note(f"{type(error).__name__} {error}")
        raise
    return text(start_response, "waited")


def variable(environ, start_response):
    return text(start_response, os.environ.get(environ["QUERY_STRING"], "absent"))


def own_and_childs(environ, start_response):
    name = environ["QUERY_STRING"]
    child = subprocess.run(["sh", "-c", 'echo "${%s-absent}"' % name], stdout=subprocess.PIPE, check=True)
    return text(start_response, "%s %s" % (os.environ.get(name, "absent"), child.stdout.decode().strip()))


def forks(environ, start_response):
    """The child comes back in the way of the query; its exit code."""
    child = os.fork()
    if child == 0:
        if environ["QUERY_STRING"] == "raises":
            raise RuntimeError("in the child")
        if environ["QUERY_STRING"] == "exits":
            sys.exit(5)
        return text(start_response, "the child's response")
    _, status = os.waitpid(child, 0)
    return text(start_response, os.WEXITSTATUS(status))


def asks_until_gone(environ, start_response):
    client_gone = environ["wsgi_fpm.client_gone"]
    time.sleep(0.1)
    note(str(client_gone()))
    while not client_gone():
        time.sleep(0.005)
    note("gone")
    return text(start_response, "gone")


def prefix(environ, start_response):
    return text(start_response, sys.prefix)


PAGES = {"/" + name.rstrip("_"): page for name, page in list(globals().items()) if callable(page)}
