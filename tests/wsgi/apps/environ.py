"""What the application is given (SPEC B)."""

import json
import os

from dispatch import by_path
from shared import TEXT, hello


def dump(environ, start_response):
    """Strings as they are, anything else by its type's name and repr. Reads no input."""
    body = json.dumps({k: v if type(v) is str else [type(v).__name__, repr(v)] for k, v in environ.items()})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body.encode()]


def shape(environ, start_response):
    """The claims of B1, B2 and B4 that only Python can check."""
    checks = {
        "dict": type(environ) is dict,
        "keys": all(type(k) is str for k in environ),
        "cgi values": all(type(v) is str for k, v in environ.items() if "." not in k),
        "latin-1": all(v.encode("latin-1") is not None for k, v in environ.items() if "." not in k),
        "version": environ["wsgi.version"] == (1, 0) and type(environ["wsgi.version"]) is tuple,
        "multithread": type(environ["wsgi.multithread"]) is bool,
        "multiprocess": type(environ["wsgi.multiprocess"]) is bool,
        "run_once": environ["wsgi.run_once"] is False,
        "url_scheme": type(environ["wsgi.url_scheme"]) is str,
        "input_terminated": environ["wsgi.input_terminated"] is True,
        "file_wrapper": callable(environ["wsgi.file_wrapper"]),
        "input": hasattr(environ["wsgi.input"], "read"),
        "errors": hasattr(environ["wsgi.errors"], "write"),
    }
    start_response("200 OK", TEXT)
    return [b" ".join(name.encode() for name, holds in checks.items() if not holds) or b"all hold"]


def spoil(environ, start_response):
    """Does everything an application may do to its own environ."""
    for name in list(environ):
        if name.startswith(("HTTP_", "wsgi.", "SERVER_")):
            del environ[name]
    environ["spoilt"] = object()
    environ["QUERY_STRING"] = "spoilt"
    start_response("200 OK", TEXT)
    return [b"spoilt"]


def process_variable(environ, start_response):
    """The variable of the process that the query names, and whether environ has it."""
    name = environ["QUERY_STRING"]
    start_response("200 OK", TEXT)
    return ["{} {}".format(os.environ.get(name), name in environ).encode()]


def process_environment(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(dict(os.environ)).encode()]


def url(environ, start_response):
    """The request's URL as PEP 3333 says to build it."""
    from wsgiref.util import request_uri

    start_response("200 OK", TEXT)
    return [request_uri(environ).encode()]


application = by_path(globals())
