"""Takes the signals that stop a worker, as some frameworks do at import."""

import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, lambda number, frame: None)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"handlers"]
