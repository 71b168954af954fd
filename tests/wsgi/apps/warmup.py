"""Tells which requests this process has had, and fails where it is told to."""

import json
import os
import time

SEEN = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    seen = [environ[key] for key in ("REQUEST_METHOD", "HTTP_HOST", "wsgi.url_scheme", "PATH_INFO", "QUERY_STRING")]
    if path == "/seen":
        time.sleep(float(environ["QUERY_STRING"] or 0))
        body = json.dumps({"pid": os.getpid(), "seen": SEEN})
    else:
        SEEN.append(" ".join(seen))
        body = "x" * 300000
    status = "200 OK"
    if path == "/sleeps":
        for _ in range(1000):
            time.sleep(0.05)
    if path == "/raises":
        raise RuntimeError("this page does not work")
    if path == "/hosts" and environ["HTTP_HOST"] != "example.org":
        status = "400 Bad Request"
    if path == "/moved":
        status = "302 Found"
    if path == "/marked" and os.path.exists(environ["QUERY_STRING"]):
        status = "503 Service Unavailable"
    start_response(status, [("Content-Type", "text/plain"), ("Location", "/")])
    return [body.encode()]
