"""What a process that serves has of the gateway's, as JSON: descriptors, here and in children, and the engine's mapping."""

import json
import os
import subprocess
import sys

def descriptors():
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink("/proc/self/fd/" + number)
        except OSError:
            pass  # the directory's own
    return found


def forked():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, json.dumps(descriptors()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = json.load(file)
    os.waitpid(pid, 0)
    return found


def application(environ, start_response):
    answer = {"version": sys.version.split()[0], "prefix": sys.prefix, "engine": sys.modules["wsgi_fpm_engine"].__spec__.origin}
    if os.path.exists("/proc/self"):
        with open("/proc/self/maps") as file:
            answer["mapped"] = sorted({line.split(None, 5)[5].strip() for line in file if "engine" in line})
        answer["own"] = descriptors()
        answer["forked"] = forked()
        answer["started"] = json.loads(subprocess.check_output([sys.executable, __file__], close_fds=False))
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    print(json.dumps(descriptors()))
