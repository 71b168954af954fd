"""What a WSGI application may do, told by its path; run by Twisted and by wsgi-fpm, it must give the same answers."""

import io
import json
import sys

TEXT = "text/plain; charset=utf-8"
SEEN = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL")
LARGE = bytes(range(256)) * 4096


def reply(start_response, body, content_type=TEXT, status="200 OK", headers=()):
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers])
    return [body]


def environ(environ, start_response):
    # A server may leave out what is empty, and Apache counts the bytes of no body.
    seen = {name: environ.get(name, "") for name in SEEN}
    seen["CONTENT_LENGTH"] = seen["CONTENT_LENGTH"] or "0"
    for name, value in environ.items():
        # Twisted has HTTP_CONTENT_LENGTH and HTTP_CONTENT_TYPE as well, which wsgiref's validator refuses.
        if name.startswith("HTTP_") and not name.startswith("HTTP_CONTENT_"):
            seen[name] = value
    seen["wsgi"] = [environ["wsgi.version"], environ["wsgi.url_scheme"], environ["wsgi.run_once"]]
    return reply(start_response, json.dumps(seen, sort_keys=True).encode(), "application/json")


def read(environ, start_response):
    return reply(start_response, environ["wsgi.input"].read())


def read_pieces(environ, start_response):
    pieces = list(iter(lambda: environ["wsgi.input"].read(1000), b""))
    lengths = ",".join(str(len(piece)) for piece in pieces)
    return reply(start_response, lengths.encode() + b"\n" + b"".join(pieces))


def readline(environ, start_response):
    lines = list(iter(environ["wsgi.input"].readline, b""))
    return reply(start_response, repr(lines).encode())


def readlines(environ, start_response):
    return reply(start_response, repr(environ["wsgi.input"].readlines()).encode())


def iterate(environ, start_response):
    return reply(start_response, repr(list(environ["wsgi.input"])).encode())


def unread(environ, start_response):
    return reply(start_response, b"not read")


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT)])
    for number in range(5):
        yield b"" if number == 2 else b"piece %d\n" % number


def late(environ, start_response):
    # Not before the first block is asked for.
    yield from reply(start_response, b"late")


def write(environ, start_response):
    write = start_response("200 OK", [("Content-Type", TEXT)])
    write(b"written, ")
    write(b"twice, ")
    return [b"and ", b"returned"]


def file(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(LARGE)))])
    # Twisted has none.
    wrap = environ.get("wsgi.file_wrapper", lambda file, size: iter(lambda: file.read(size), b""))
    return wrap(io.BytesIO(LARGE), 8192)


def large(environ, start_response):
    return reply(start_response, LARGE, "application/octet-stream")


def cookies(environ, start_response):
    headers = [("Set-Cookie", "b=2; Path=/"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "c=3; Path=/")]
    return reply(start_response, b"three", headers=headers)


def headers(environ, start_response):
    kept = [
        ("X-Latin-1", "caf\xe9"),
        ("x-lower", "1"),
        ("X-Empty", ""),
        ("ETag", '"abc"'),
        ("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("Cache-Control", "no-cache, private"),
        ("Vary", "Cookie"),
        ("Content-Language", "de"),
        ("Content-Disposition", "attachment; filename*=utf-8''%C3%A9"),
        ("WWW-Authenticate", "Basic realm=\"x\""),
    ]
    return reply(start_response, b"headers", headers=kept)


def redirect(environ, start_response):
    return reply(start_response, b"", status="302 Found", headers=[("Location", "http://example.com/x?y=%C3%A9")])


def replaced(environ, start_response):
    start_response("200 OK", [("Content-Type", TEXT)])
    try:
        raise ValueError("changed its mind")
    except ValueError:
        start_response("409 Conflict", [("Content-Type", TEXT), ("Content-Length", "8")], sys.exc_info())
    return [b"replaced"]


def status(environ, start_response):
    code = environ["PATH_INFO"].rpartition("/")[2]
    if code in ("204", "304"):
        start_response(f"{code} None", [("ETag", '"abc"')])
        return []
    return reply(start_response, code.encode(), status=f"{code} Some Reason")


def nothing(environ, start_response):
    return reply(start_response, b"")


PAGES = {page.__name__: page for page in (environ, read, read_pieces, readline, readlines, iterate, unread)}
PAGES.update((page.__name__, page) for page in (generator, late, write, file, large, cookies, headers))
PAGES.update((page.__name__, page) for page in (redirect, replaced, status, nothing))


def application(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"].split("/")[1])
    if page is None:
        return reply(start_response, b"no such path", status="404 Not Found")
    return page(environ, start_response)
