"""What an import may do to the process that forks workers: by the variable REAPS."""

import os
import resource
import signal
import time

TEXT = [("Content-Type", "text/plain")]


def reap(number, frame):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def ignore():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


way = os.environ["REAPS"]
if way == "ignores":
    ignore()
elif way == "reaps":
    signal.signal(signal.SIGCHLD, reap)
elif way == "ignores after each fork":
    os.register_at_fork(after_in_parent=ignore)
elif way == "breaks the child":
    os.register_at_fork(after_in_child=few_descriptors)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/slow":
        time.sleep(60)
    start_response("200 OK", TEXT)
    if path == "/pid":
        return [str(os.getpid()).encode()]
    return [repr(signal.getsignal(signal.SIGCHLD)).encode()]
