"""Says who answers."""

import os
import sys
import time


def application(environ, start_response):
    if environ["PATH_INFO"] == "/read":
        try:
            with open(environ["QUERY_STRING"], encoding="ascii") as file:
                body = "read: " + file.read()
        except OSError as error:
            body = "not read: " + type(error).__name__
    elif environ["PATH_INFO"] == "/says":
        body = "a request has said " + environ["QUERY_STRING"]
        print(body)
    elif environ["PATH_INFO"].startswith("/sleep"):
        time.sleep(60)
        body = "slept"
    elif environ["PATH_INFO"] == "/until":
        for _ in range(6000):
            if os.path.exists(environ["QUERY_STRING"]):
                break
            time.sleep(0.01)
        body = "gone"
    else:
        who = {
            "pid": os.getppid(),
            "uid": os.getuid(),
            "python": "%d.%d" % sys.version_info[:2],
            "prefix": sys.prefix,
            "mark": os.environ.get("MARK", ""),
        }
        body = " ".join("%s=%s" % said for said in who.items())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
