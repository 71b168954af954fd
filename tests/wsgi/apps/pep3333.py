"""The kinds of applications and middleware that PEP 3333 describes."""

import sys
from urllib.parse import quote

from shared import TEXT


def simple_function(environ, start_response):
    start_response("200 OK", [("Content-type", "text/plain")])
    return [b"Hello world!\n"]


class simple_class:
    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", [("Content-type", "text/plain")])
        yield b"Hello world!\n"


class Latin:
    """Changes the body, so it must drop Content-Length and keep close() and block boundaries."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        changing = []

        def start(status, headers, exc_info=None):
            changing.append(True)
            kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
            write = start_response(status, kept, exc_info)
            return lambda data: write(data.upper())

        result = self.application(environ, start)

        def blocks():
            try:
                for block in result:
                    yield block.upper() if changing else block
            finally:
                if hasattr(result, "close"):
                    result.close()

        return blocks()


def inner_latin(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "99")])
    yield b"ellohay "
    yield b"orldway"


latin = Latin(inner_latin)


def error_handled(environ, start_response):
    try:
        start_response("200 OK", TEXT)
        raise RuntimeError("before any output")
    except RuntimeError:
        start_response("500 froody", [("content-type", "text/plain")], sys.exc_info())
        return [b"something broke"]


def error_handled_late(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"sent;")
    try:
        raise RuntimeError("after output")
    except RuntimeError:
        start_response("500 too late", TEXT, sys.exc_info())
        return [b"never sent"]


def rebuilt_url(environ, start_response):
    url = environ["wsgi.url_scheme"] + "://"
    default = "443" if environ["wsgi.url_scheme"] == "https" else "80"
    if environ.get("HTTP_HOST"):
        url += environ["HTTP_HOST"]
    else:
        url += environ["SERVER_NAME"]
        if environ["SERVER_PORT"] != default:
            url += ":" + environ["SERVER_PORT"]
    url += quote(environ.get("SCRIPT_NAME", "")) + quote(environ.get("PATH_INFO", ""))
    if environ.get("QUERY_STRING"):
        url += "?" + environ["QUERY_STRING"]
    start_response("200 OK", TEXT)
    return [url.encode()]


def own_environ(environ, start_response):
    """Middleware that gives the inner application a changed copy, and leaves its own as it was."""

    def inner(environ, start_response):
        start_response("200 OK", TEXT)
        return [(environ["SCRIPT_NAME"] + " " + environ["PATH_INFO"]).encode()]

    copy = dict(environ)
    copy["SCRIPT_NAME"] = "/own_environ"
    copy["PATH_INFO"] = environ["PATH_INFO"][len("/own_environ") :]
    return inner(copy, start_response)


FUNCTIONS = globals()


def application(environ, start_response):
    return FUNCTIONS[environ["PATH_INFO"].split("/")[1]](environ, start_response)
