"""wsgi.input (SPEC C41 to C48)."""

import sys
import threading

from dispatch import by_path
from shared import TEXT, events, hello, key, open_gate, recorded, wait_at_gate


def calls(environ, start_response):
    """Evaluates the header X-Calls with `i` as the input; the values' repr is the body."""
    i = environ["wsgi.input"]
    result = eval(environ["HTTP_X_CALLS"], {"i": i, "environ": environ, "hasattr": hasattr, "attempt": attempt})
    start_response("200 OK", TEXT)
    return [repr(result).encode()]


def attempt(call):
    """The call's value, or the name of what it raised and whether that is an OSError."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__, isinstance(error, OSError)


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", TEXT)
    return [body]


def echo_all(environ, start_response):
    """Without a look at CONTENT_LENGTH, which goes back in a header."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT + [("X-Content-Length", environ.get("CONTENT_LENGTH", "absent"))])
    return [body]


def echo_stream(environ, start_response):
    start_response("200 OK", TEXT)
    while True:
        block = environ["wsgi.input"].read(8192)
        if not block:
            return
        yield block


def progress(environ, start_response):
    """Reads exactly as many bytes as the query says, tells, then reads the rest."""
    first = environ["wsgi.input"].read(int(environ["QUERY_STRING"]))
    start_response("200 OK", TEXT)
    yield "first {};".format(len(first)).encode()
    yield "rest {}".format(len(environ["wsgi.input"].read())).encode()


def first_read1(environ, start_response):
    """What read1() gives at once; then how much there was in all."""
    first = environ["wsgi.input"].read1()
    start_response("200 OK", TEXT)
    yield b"some;" if first else b"nothing;"
    yield str(len(first) + len(environ["wsgi.input"].read())).encode()


def read_fails(environ, start_response):
    """Reads to the end and reports how that went, under the key too: the client may be gone."""
    name = key(environ)
    events[name].append("called")
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        outcome = "OSError"
    except Exception as error:
        outcome = type(error).__name__
    else:
        outcome = "no error"
    events[name].append(outcome)
    start_response("200 OK", TEXT)
    return [outcome.encode()]


def read_when_open(environ, start_response):
    """Waits, then reads to the end, and goes on whatever comes of that."""
    start_response("200 OK", TEXT)
    yield b"running;"
    wait_at_gate(key(environ))
    try:
        yield "read {}".format(len(environ["wsgi.input"].read())).encode()
    except OSError as error:
        yield "OSError {} {}".format(error.errno, error.strerror).encode()


def ignored(environ, start_response):
    """Answers at once and reads nothing."""
    start_response("413 Content Too Large", TEXT)
    return [b"too large"]


def ignored_big_answer(environ, start_response):
    """Reads nothing and answers 10 MiB."""
    start_response("200 OK", TEXT + [("Content-Length", str(160 * 65536))])
    return (b"y" * 65536 for _ in range(160))


def replaced(environ, start_response):
    """What middleware may do: environ is its own from the call on."""
    import io

    environ["wsgi.input"] = io.BytesIO(b"mine")
    body = environ["wsgi.input"].read()
    environ.clear()
    start_response("200 OK", TEXT)
    return [body]


stash = {}


def stashed(environ, start_response):
    """Keeps its input, unread, beyond its request."""
    stash[key(environ)] = environ["wsgi.input"]
    start_response("200 OK", TEXT)
    return [b"stashed"]


def use_stashed(environ, start_response):
    """Reads the input of the ended request from here and from another thread, then its own."""
    old = stash[key(environ)]
    seen = []

    def use():
        for call in (lambda: old.read(3), old.readline, lambda: b"".join(old)):
            value = attempt(call)
            seen.append(value if isinstance(value, bytes) else b"")

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    own = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [b"foreign:" + b"".join(seen) + b" own:" + own]


def sized_reads(environ, start_response):
    """As wsgiref.validate wants it: every method with its one argument."""
    i = environ["wsgi.input"]
    parts = [i.read(3), i.readline(), b"".join(i.readlines(100)), b"".join(i)]
    start_response("200 OK", TEXT)
    return [b"|".join(parts)]


application = by_path(globals())
