"""What the trials of the container ask: who it runs as, what it can write, a page that takes time, a child without parents."""

import os
import subprocess
import tempfile
import time

from flask import Flask

app = Flask(__name__)


@app.route("/")
def index():
    return "well\n"


@app.route("/slow")
def slow():
    time.sleep(3)
    return "finished\n"


@app.route("/who")
def who():
    return "%d:%d\n" % (os.getuid(), os.getgid())


@app.route("/writes")
def writes():
    can = []
    for directory in ("/app", "/venv", "/var/tmp", "/tmp", "/run/app"):
        try:
            with tempfile.NamedTemporaryFile(dir=directory):
                can.append(directory)
        except OSError:
            pass
    return " ".join(can) + "\n"


@app.route("/orphan")
def orphan():
    """Starts a process that outlives its parent and soon ends: process 1 has to reap it."""
    subprocess.run(["sh", "-c", "setsid sleep 0.2 & "], check=True)
    return "started\n"
