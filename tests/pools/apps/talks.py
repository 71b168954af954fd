"""Writes to the log in every way."""
import os
import sys
import threading
import time


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/prints":
        print("printed %s" % query)
        print("printed %s to stderr" % query, file=sys.stderr)
        environ["wsgi.errors"].write("written %s\n" % query)
    elif path == "/lines":
        for number in range(int(query)):
            print("line %d" % number)
    elif path == "/sleeps":
        time.sleep(float(query))
    elif path == "/waits":
        while not os.path.exists(query):
            time.sleep(0.02)
    elif path == "/raises":
        raise ValueError("for the log")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
