"""numpy at import and in requests: its OpenBLAS has threads of its own."""

import os

import numpy

MATRIX = numpy.ones((400, 400))
MATRIX @ MATRIX
THREADS = len(os.listdir("/proc/self/task"))


def application(environ, start_response):
    total = int((MATRIX @ MATRIX).sum())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d threads at import, %d" % (THREADS, total)]
