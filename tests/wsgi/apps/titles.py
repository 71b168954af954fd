"""Which process title stands where, and what a title must leave as it was."""

import json
import os
import subprocess
import sys

SHOW = "import sys; print(open('/proc/self/cmdline').read().replace(chr(0), ' ').strip())"


def arguments(environ):
    with open("/proc/self/environ") as file:
        shown = dict(line.split("=", 1) for line in file.read().split("\0") if "=" in line)
    return {
        "argv": sys.argv,
        "orig_argv": getattr(sys, "orig_argv", None),
        "executable": sys.executable,
        "marked": [os.environ.get("MARK"), shown.get("MARK")],
    }


def children(environ):
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        with open("/proc/self/cmdline", "rb") as file:
            os.write(write, file.read())
        os._exit(0)
    os.waitpid(pid, 0)
    forked = os.read(read, 65536)
    os.close(read)
    os.close(write)
    return {
        "forked": forked.rstrip(b"\0").decode(),
        "started": subprocess.check_output([sys.executable, "-c", SHOW], text=True).strip(),
    }


def application(environ, start_response):
    body = {"/arguments": arguments, "/children": children}[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
