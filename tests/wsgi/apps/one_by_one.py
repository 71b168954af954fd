"""The first process that imports it is soon done, each other one waits for a file."""

import os
import time

DIRECTORY = os.environ["GATE_DIRECTORY"]

try:
    os.mkdir(DIRECTORY + "/first")
except FileExistsError:
    os.makedirs(DIRECTORY + "/second", exist_ok=True)
    while not os.path.exists(DIRECTORY + "/gate"):
        time.sleep(0.01)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
