"""What compare.py measures: an application for each case that needs no framework."""

BIG = b"x" * (100 * 1024)
BLOCK = b"y" * (64 * 1024)
TEXT = [("Content-Type", "text/plain")]


def hello(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "13")])
    return [b"Hello, world!"]


def big(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", str(len(BIG)))])
    return [BIG]


def stream(environ, start_response):
    """10 MiB of unknown length."""
    start_response("200 OK", TEXT)
    return (BLOCK for _ in range(160))


def echo(environ, start_response):
    """Reads the body in pieces and tells its length."""
    length = left = int(environ.get("CONTENT_LENGTH") or 0)
    while left:
        piece = environ["wsgi.input"].read(min(left, 65536))
        if not piece:
            break
        left -= len(piece)
    body = str(length - left).encode()
    start_response("200 OK", TEXT + [("Content-Length", str(len(body)))])
    return [body]
