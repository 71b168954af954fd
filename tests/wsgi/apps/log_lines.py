"""Fills the log. Each answer names the process."""
import os
import sys


def answer(start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/numbered":
        for number in range(int(query)):
            environ["wsgi.errors"].write("numbered %d %s\n" % (number, "x" * 8000))
    elif path == "/printed":
        for number in range(int(query)):
            print("printed %d %s" % (number, "x" * 8000), file=sys.stderr)
    elif path == "/raises":
        raise ValueError("long %s\n%s\n%s end" % (query, "y" * 8000, '"\\\\' * 2000))
    elif path == "/forks":
        # The child logs, too, and ends by itself.
        pid = os.fork()
        if pid == 0:
            environ["wsgi.errors"].write("from a child\n")
            os._exit(7)
        assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 7
    return answer(start_response)
