"""What has to work under every Python: a response, environ, input, errors, a child and a thread."""

import json
import sys
import threading


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    print("smoke to errors", file=environ["wsgi.errors"])
    seen = []
    thread = threading.Thread(target=lambda: seen.append("thread"))
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Type", "application/json")])
    yield json.dumps(
        {
            "version": list(sys.version_info[:2]),
            "prefix": sys.prefix,
            "executable": sys.executable,
            "dict": type(environ) is dict,
            "path": environ["PATH_INFO"],
            "body": body.decode("latin-1"),
            "thread": seen,
        }
    ).encode()
