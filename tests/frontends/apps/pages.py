"""One application for everything that is asked of it through a web server: each function answers the path of its name."""

import atexit
import ctypes
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

PERIOD = bytes(range(251))


def application(environ, start_response):
    name = environ["PATH_INFO"].strip("/").split("/")[0]
    function = PAGES.get(name, environ_page)
    return function(environ, start_response)


def query(environ, key, default=""):
    return parse_qs(environ["QUERY_STRING"], keep_blank_values=True).get(key, [default])[0]


def answer(start_response, body, status="200 OK", headers=()):
    start_response(status, [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body))), *headers])
    return [body]


def pattern(start, length):
    """Bytes start to start+length of the test data, the same as in the tests."""
    shift = start % len(PERIOD)
    return (PERIOD * (length // len(PERIOD) + 2))[shift : shift + length]


def environ_page(environ, start_response):
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int))}
    shown["body"] = environ["wsgi.input"].read().decode("latin-1")
    return answer(start_response, json.dumps(shown).encode("ascii"))


def digest(environ, start_response):
    """Length and SHA-256 of the body, as CONTENT_LENGTH says it and as it was."""
    sha, length = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(65536):
        sha.update(block)
        length += len(block)
    told = environ.get("CONTENT_LENGTH")
    return answer(start_response, json.dumps({"told": told, "length": length, "sha256": sha.hexdigest()}).encode())


def sized(environ, start_response):
    """`n` bytes: at once, or in blocks of `block` from a generator that declares no length."""
    n, block = int(query(environ, "n")), int(query(environ, "block", "0"))
    if not block:
        return answer(start_response, pattern(0, n))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return (pattern(at, min(block, n - at)) for at in range(0, n, block))


def status(environ, start_response):
    """Any status with a body, which not every status may have."""
    start_response(query(environ, "line"), [("X-Kept", "yes"), ("ETag", '"1"')])
    return [b"a body"]


def cookies(environ, start_response):
    return answer(start_response, b"", headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")])


def redirect(environ, start_response):
    return answer(start_response, b"", "302 Found", [("Location", query(environ, "to"))])


def big_head(environ, start_response):
    """A head of about `n` bytes: `lines` headers of the same size."""
    n = int(query(environ, "n"))
    lines = -(-n // 4000)
    headers = [(f"X-Fill-{number}", "x" * (n // lines)) for number in range(lines)]
    return answer(start_response, b"large head", headers=headers)


def large_header(environ, start_response):
    """One header of `n` bytes."""
    return answer(start_response, b"", headers=[("X-Large", "x" * int(query(environ, "n")))])


def early(environ, start_response):
    """An answer that does not wait for the body."""
    return answer(start_response, b"too much", "413 Content Too Large")


def accel(environ, start_response):
    to = query(environ, "to") or "/internal/" + query(environ, "file")
    return answer(start_response, b"", headers=[("X-Accel-Redirect", to)])


def sendfile(environ, start_response):
    return answer(start_response, b"", headers=[("X-Sendfile", query(environ, "file"))])


def fails(environ, start_response):
    secret = "/not/for/browsers"
    raise RuntimeError(f"on purpose: {secret}")


def breaks(environ, start_response):
    """A body that stops after `n` bytes by an exception, but not before the file `gate` exists."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield pattern(0, int(query(environ, "n")))
    if gate := query(environ, "gate"):
        wait_for(Path(gate))
    raise RuntimeError("on purpose, after the head")


def short(environ, start_response):
    """Less than the declared length."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1000")])
    yield b"only this"


def lacks_the_end(environ, start_response):
    """Five bytes less than the declared 300000."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "300000")])
    yield pattern(0, 299995)


def silent(environ, start_response):
    """No start_response at all."""
    return [b"never seen"]


def partial(environ, start_response):
    """The part that Range asks for, made by the application."""
    first, last = environ["HTTP_RANGE"].removeprefix("bytes=").split("-")
    first, last = int(first), int(last)
    headers = [("Content-Range", f"bytes {first}-{last}/1000"), ("X-By", "application")]
    return answer(start_response, pattern(first, last - first + 1), "206 Partial Content", headers)


def speaks(environ, start_response):
    """Writes `what` in every way that an application has."""
    what = query(environ, "what")
    # In one piece each: Python lets prints of other threads in between the pieces.
    print(f"print {what}\n", end="", flush=True)
    print(f"stderr {what}\n", end="", file=sys.stderr, flush=True)
    os.write(1, f"descriptor 1 {what}\n".encode())
    print(f"wsgi.errors {what}\n", end="", file=environ["wsgi.errors"])
    return answer(start_response, b"spoken")


def gated(environ, start_response):
    """A response whose second block waits until the file `gate` exists; `gate`.called tells which process runs it."""
    gate = Path(query(environ, "gate"))
    headers = [("Content-Type", "text/plain")]
    if query(environ, "unbuffered"):
        headers.append(("X-Accel-Buffering", "no"))
    start_response("200 OK", headers)
    Path(f"{gate}.called").write_text(str(os.getpid()))
    if query(environ, "first"):
        yield query(environ, "first").encode()
    wait_for(gate)
    yield b"second"


def endless(environ, start_response):
    """Blocks without end; close() leaves a mark."""
    mark = Path(query(environ, "mark"))
    Path(f"{mark}.pid").write_text(str(os.getpid()))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Endless(mark)


class Endless:
    def __init__(self, mark):
        self.mark = mark

    def __iter__(self):
        return self

    def __next__(self):
        return b"x" * 65536

    def close(self):
        self.mark.write_text("closed")


def reads(environ, start_response):
    """Reads the body and leaves a mark of how that ended."""
    mark = Path(query(environ, "mark"))
    Path(f"{mark}.pid").write_text(str(os.getpid()))
    mark.with_suffix(".called").touch()
    try:
        body = environ["wsgi.input"].read()
    except OSError:
        mark.write_text("OSError")
        raise
    mark.write_text(f"read {len(body)}")
    return answer(start_response, b"read")


def asks(environ, start_response):
    """Asks for up to three seconds whether its client is gone, and leaves a mark of the answer."""
    mark = Path(query(environ, "mark"))
    Path(f"{mark}.pid").write_text(str(os.getpid()))
    mark.with_suffix(".called").touch()
    end = time.monotonic() + 3
    while not environ["wsgi_fpm.client_gone"]() and time.monotonic() < end:
        time.sleep(0.01)
    mark.write_text("gone" if environ["wsgi_fpm.client_gone"]() else "unknown")
    return answer(start_response, b"asked")


def dies(environ, start_response):
    """The worker ends by a signal in the middle of a request; its number is in the file `pid`, if there is one."""
    how = query(environ, "by")
    if query(environ, "pid"):
        Path(query(environ, "pid")).write_text(str(os.getpid()))
    if how == "SIGSEGV":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


def closes(environ, start_response):
    """A whole response whose close() takes a while; it and the end of the process, if that comes soon, leave marks."""
    mark = Path(query(environ, "mark"))
    atexit.register(Path(f"{mark}.exit").touch)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return Closes(mark)


class Closes:
    def __init__(self, mark):
        self.mark = mark

    def __iter__(self):
        yield b"closes"

    def close(self):
        # Long enough for a web server to notice that the response is whole, and to do what it does then.
        time.sleep(0.3)
        self.mark.write_text("closed")


def process(environ, start_response):
    return answer(start_response, str(os.getpid()).encode())


def descriptors(environ, start_response):
    """What the open descriptors are, where that has a number of its own: `socket:[4711]`."""
    links = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
        except OSError:
            pass  # the listing's own
    return answer(start_response, "\n".join(link for link in links if "[" in link).encode())


def slow(environ, start_response):
    """Takes `seconds`, and says in the file `mark` which process does."""
    Path(query(environ, "mark")).write_text(str(os.getpid()))
    time.sleep(float(query(environ, "seconds")))
    return answer(start_response, b"slow")


def wait_for(path):
    end = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} was not made in time")
        time.sleep(0.002)


PAGES = {
    function.__name__: function
    for function in (
        digest, sized, status, cookies, redirect, big_head, early, accel, sendfile, fails, breaks, short, gated, endless,
        reads, asks, dies, silent, partial, speaks, large_header, process, slow, descriptors, closes, lacks_the_end,
    )
}  # fmt: skip
