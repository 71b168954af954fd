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
    elif environ["PATH_INFO"] == "/sleep":
        time.sleep(60)
        body = "slept"
    else:
        version = "%d.%d" % sys.version_info[:2]
        body = "pid=%d uid=%d python=%s mark=%s" % (os.getppid(), os.getuid(), version, os.environ.get("MARK", ""))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
