"""wsgi.file_wrapper (SPEC C53). The query names a file; `made` makes it."""

import io
import os
import socket
import tempfile

from dispatch import by_path
from shared import TEXT, events, hello, key, recorded

BINARY = [("Content-Type", "application/octet-stream")]
CONTENT = bytes(range(256)) * 2000


def made():
    file = tempfile.TemporaryFile()
    file.write(CONTENT)
    file.seek(0)
    return file


class Watched(object):
    """A file-like object with the least that file_wrapper may expect, and close()."""

    def __init__(self, content, name):
        self.file, self.name = io.BytesIO(content), name

    def read(self, size=-1):
        return self.file.read(size)

    def close(self):
        events[self.name].append("close")


def whole(environ, start_response):
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](made())


def block_size(environ, start_response):
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](made(), 1000)


def from_offset(environ, start_response):
    file = made()
    file.seek(27)
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](file)


def after_buffered_read(environ, start_response):
    """The buffered reader is ahead of its descriptor: what counts is tell()."""
    file = made()
    file.read(10)
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](file)


def limited(environ, start_response):
    start_response("200 OK", BINARY + [("Content-Length", "1000")])
    return environ["wsgi.file_wrapper"](made())


def too_short(environ, start_response):
    start_response("200 OK", BINARY + [("Content-Length", str(len(CONTENT) + 1))])
    return environ["wsgi.file_wrapper"](made())


def too_short_written(environ, start_response):
    write = start_response("200 OK", BINARY + [("Content-Length", str(len(CONTENT) + 7))])
    write(b"first;")
    return environ["wsgi.file_wrapper"](made())


def after_write(environ, start_response):
    start_response("200 OK", BINARY)(b"first;")
    return environ["wsgi.file_wrapper"](io.BytesIO(b"then the file"))


def memory(environ, start_response):
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"), 4)


def watched(environ, start_response):
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](Watched(b"watched", key(environ)))


def without_close(environ, start_response):
    class Reader(object):
        def __init__(self):
            self.file = io.BytesIO(b"no close")

        def read(self, size):
            return self.file.read(size)

    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](Reader())


def iterated(environ, start_response):
    """Not returned itself: then it is an iterable like any other."""
    wrapper = environ["wsgi.file_wrapper"](Watched(b"iterated", key(environ)), 3)
    start_response("200 OK", BINARY)
    blocks = list(wrapper)
    wrapper.close()
    return [b"/".join(blocks)]


def wrapped(environ, start_response):
    """Middleware around it falls back to iteration."""

    class Upper(object):
        def __init__(self, inner):
            self.inner = inner

        def __iter__(self):
            return (block.upper() for block in self.inner)

        def close(self):
            self.inner.close()

    start_response("200 OK", BINARY)
    return Upper(environ["wsgi.file_wrapper"](Watched(b"wrapped", key(environ))))


def text_mode(environ, start_response):
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](io.StringIO("text"))


def from_socket(environ, start_response):
    """A descriptor, but not a file."""
    ours, theirs = socket.socketpair()
    ours.sendall(b"from a socket")
    ours.close()
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](theirs.makefile("rb"))


def from_pipe(environ, start_response):
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](os.fdopen(reader, "rb"))


def fails_midway(environ, start_response):
    class Failing(Watched):
        def read(self, size=-1):
            if events[self.name]:
                raise OSError("the disk is gone")
            events[self.name].append("read")
            return b"first"

    start_response("200 OK", BINARY)
    return environ["wsgi.file_wrapper"](Failing(b"", key(environ)))


application = by_path(globals())
