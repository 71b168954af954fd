"""An application whose libraries have replaced threads and sockets: PATCH says by which, THREAD whether threads, too."""

import os

# eventlet takes thread=True for "nothing but threads".
PARTS = {} if os.environ["THREAD"] == "yes" else {"thread": False}
if os.environ["PATCH"] == "gevent":
    import gevent as greenlets
    from gevent import monkey

    monkey.patch_all(**PARTS)
else:
    import eventlet as greenlets

    greenlets.monkey_patch(**PARTS)

import threading
import time


def application(environ, start_response):
    answered = []
    children = [greenlets.spawn(lambda: (greenlets.sleep(0.05), answered.append(os.getpid()))) for _ in range(5)]
    time.sleep(0.3)
    body = "%d of %d; %d bytes; %s" % (
        len(answered), len(children), len(environ["wsgi.input"].read()), threading.current_thread().name)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
