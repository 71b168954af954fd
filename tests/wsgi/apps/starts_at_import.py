"""Starts a process while it is imported, and notes its pid in the file that the environment names."""

import os
import subprocess

HELPER = subprocess.Popen(["sleep", "1000"])
with open(os.environ["HELPERS"], "a") as file:
    file.write("%d\n" % HELPER.pid)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(HELPER.pid).encode()]
