"""The application of the two hosts: every request takes 50 ms and leaves a line in a file that both hosts share."""

import os
import time

HOST = os.environ["HOST_NAME"]
SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def application(environ, start_response):
    environ["wsgi.input"].read()
    if environ["QUERY_STRING"]:
        os.write(SEEN, (environ["QUERY_STRING"] + "\n").encode())
    time.sleep(0.05)
    body = HOST.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
