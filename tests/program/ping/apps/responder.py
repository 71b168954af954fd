"""What `wsgi-fpm ping` asks for."""

import os
import time


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/raises":
        raise RuntimeError("as it was asked to")
    if path == "/missing":
        start_response("404 Not Found", [])
        return [b"nothing here"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/half":
        return half()
    if path == "/wait":
        open(query + ".waits", "w").close()
        while not os.path.exists(query):
            time.sleep(0.01)
    return ["hello from {} {}".format(environ["HTTP_HOST"], query).encode()]


def half():
    yield b"half"
    raise RuntimeError("as it was asked to")
