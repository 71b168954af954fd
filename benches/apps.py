"""What compare.py and mix.py measure: an application for each case that needs no framework."""
import random
import time

BIG = b"x" * (100 * 1024)
BLOCK = b"y" * (64 * 1024)
TEXT = [("Content-Type", "text/plain")]
chance = random.SystemRandom()


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


def some_sleep(environ, start_response):
    """0.3 % of the requests wait for something."""
    if chance.random() < 0.003:
        time.sleep(0.5)
    return hello(environ, start_response)


def some_compute(environ, start_response):
    """1 % of the requests compute."""
    if chance.random() < 0.01:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
    return hello(environ, start_response)


def all_sleep(environ, start_response):
    """Each request waits for something."""
    time.sleep(0.02)
    return hello(environ, start_response)
