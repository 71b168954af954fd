"""numpy and scipy at import and in requests: each brings an OpenBLAS with threads of its own."""

import os

import numpy
import scipy.linalg

MATRIX = numpy.ones((400, 400))
IDENTITY = numpy.eye(400) * 2


def calculate():
    return int((MATRIX @ MATRIX).sum()), int(scipy.linalg.solve(IDENTITY, MATRIX).sum())


calculate()
THREADS = len(os.listdir("/proc/self/task"))


def application(environ, start_response):
    total, solved = calculate()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %d threads at import, %d, %d" % (os.getpid(), THREADS, total, solved)]
