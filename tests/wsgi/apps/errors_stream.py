"""wsgi.errors (SPEC C49, C50) and everything else that an application may print."""

import logging
import os
import subprocess
import sys
import threading

from dispatch import by_path
from shared import TEXT, events, gates, hello, key, recorded, wait_at_gate, open_gate


def lines(environ, start_response):
    name = key(environ)
    errors = environ["wsgi.errors"]
    errors.write(name + " written\n")
    errors.writelines([name + " first of two\n", name + " second of two\n"])
    print(name, "printed", file=errors)
    errors.write(name + " in ")
    errors.write("pieces\n")
    errors.flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def as_text_stream(environ, start_response):
    """What loggers and io ask of a text stream."""
    import io
    import logging

    name, errors = key(environ), environ["wsgi.errors"]
    answers = [
        errors.closed,
        errors.isatty(),
        errors.readable(),
        errors.writable(),
        errors.seekable(),
        errors.encoding,
        errors.buffer.closed,
        errors.buffer.write(memoryview((name + " caf\xe9 in bytes\n").encode())),
    ]
    errors.buffer.write(bytearray(name.encode() + b" no \xff utf-8\n"))
    errors.buffer.flush()
    for wrong in ("text", 5):
        try:
            errors.buffer.write(wrong)
        except TypeError:
            answers.append("TypeError")
    errors.close()
    text = io.TextIOWrapper(errors.buffer, encoding="utf-8")
    text.write(name + " through io\n")
    text.close()
    errors.write(name + " after close\n")
    handler = logging.StreamHandler(errors)
    handler.emit(logging.LogRecord("x", 20, "x", 1, name + " through logging", (), None))
    start_response("200 OK", TEXT)
    return [repr(answers).encode()]


def unterminated(environ, start_response):
    environ["wsgi.errors"].write(key(environ) + " without newline")
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def unicode(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write(key(environ) + " \udc80 \u20ac \U0001f40d caf\xe9\n")
    errors.flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def control(environ, start_response):
    environ["wsgi.errors"].write(key(environ) + " esc\x1b[31m cr\rfake\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def megabyte(environ, start_response):
    environ["wsgi.errors"].write(key(environ) + " " + "x" * (1 << 20) + "\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def wrong_type(environ, start_response):
    try:
        environ["wsgi.errors"].write(b"bytes")
    except TypeError:
        outcome = b"TypeError"
    else:
        outcome = b"accepted"
    start_response("200 OK", TEXT)
    return [outcome]


def afterwards(environ, start_response):
    """A thread goes on writing when the request has ended."""
    name = key(environ)
    errors = environ["wsgi.errors"]

    def later():
        wait_at_gate(name)
        errors.write(name + " from a thread after the request\n")
        errors.flush()

    threading.Thread(target=later, daemon=True).start()
    start_response("200 OK", TEXT)
    return [b"started"]


writers = {}


def keeps(environ, start_response):
    """A thread has the stream of this request, and writes when another request says so."""
    name = key(environ)
    errors = environ["wsgi.errors"]
    errors.write(name + " in its request\n")

    def later():
        wait_at_gate(name)
        errors.write(name + " in another request\n")
        errors.write(name + " unterminated")

    writers[name] = threading.Thread(target=later, daemon=True)
    writers[name].start()
    start_response("200 OK", TEXT)
    return [b"started"]


def lets_write(environ, start_response):
    """Waits until the thread of `keeps` has written."""
    name = key(environ)
    gates[name].set()
    writers.pop(name).join()
    environ["wsgi.errors"].write(name + " by the other request\n")
    start_response("200 OK", TEXT)
    return [b"written"]


def identity(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(id(environ["wsgi.errors"])).encode()]


def crowd(environ, start_response):
    """Eight threads write fifty lines each; no line may be mixed with another."""
    name = key(environ)
    errors = environ["wsgi.errors"]

    def work(number):
        for _ in range(50):
            errors.write("{} {}\n".format(name, str(number) * 200))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors.flush()
    start_response("200 OK", TEXT)
    return [b"written"]


def prints(environ, start_response):
    """Everything that is not the response: print, C-level writes, a child's output."""
    name = key(environ)
    print(name, "print")
    print(name, "stderr", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, (name + " descriptor 1\n").encode())
    os.write(2, (name + " descriptor 2\n").encode())
    subprocess.call(["echo", name + " child"])
    start_response("200 OK", TEXT)
    return [b"clean"]


def reads_stdin(environ, start_response):
    start_response("200 OK", TEXT)
    return [repr(sys.stdin.read() if sys.stdin else "").encode()]


def logs_a_traceback(environ, start_response):
    """As an application's logger does it, in the middle of a line of another writer."""
    logger = logging.Logger("application")
    logger.addHandler(logging.StreamHandler(environ["wsgi.errors"]))
    try:
        raise ValueError(key(environ))
    except ValueError:
        logger.exception("%s caught", key(environ))
    start_response("200 OK", TEXT)
    return [b"logged"]


application = by_path(globals())
