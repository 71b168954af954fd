"""Threads of the application in one response, and uploads in odd pieces."""

import threading

from dispatch import by_path
from shared import TEXT, hello


def upload_in_odd_pieces(environ, start_response):
    """Never catches up exactly with what has arrived; the body tells the bytes and the process's peak memory in KiB."""
    total = 0
    while True:
        piece = environ["wsgi.input"].read(10007)
        if not piece:
            break
        total += len(piece)
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    start_response("200 OK", TEXT)
    return [b"%d %s" % (total, peak.encode())]


def write_from_another_thread(environ, start_response):
    """The other thread waits for the peer in the middle of a record when this one goes on."""
    write = start_response("200 OK", TEXT)
    failed = []

    def other():
        try:
            write(b"w" * (8 << 20))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(0.3)
    return [b"returned"]


def write_while_this_fails(environ, start_response):
    """The other thread comes while the exception is looked at for the log."""
    write = start_response("200 OK", TEXT)

    class Failure(Exception):
        def __str__(self):
            def other():
                try:
                    write(b"late")
                except OSError as error:
                    print("the other thread:", error)

            thread = threading.Thread(target=other)
            thread.start()
            thread.join(10)
            return "failed"

    raise Failure


application = by_path(globals())
