"""Closes what is not its own, as careless daemon code does."""

import os
import socket

from dispatch import by_path
from shared import TEXT, hello, key


def pid(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(os.getpid()).encode()]


def is_kind(number, kind):
    try:
        target = os.readlink("/proc/self/fd/{}".format(number))
    except OSError:
        return False
    if kind == "eventpoll":
        return kind in target
    if not target.startswith("socket:"):
        return False
    other = socket.socket(fileno=os.dup(number))
    try:
        return bool(other.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        other.close()


def closes(environ, start_response):
    kind = key(environ)
    for number in range(3, 200):
        if is_kind(number, kind):
            os.close(number)
    start_response("200 OK", TEXT)
    return [b"closed"]


def everything(environ, start_response):
    """Returns as if nothing had been."""
    if key(environ) == "closerange":
        os.closerange(3, 10000)
    else:
        null = os.open("/dev/null", os.O_RDWR)
        for number in [int(name) for name in os.listdir("/proc/self/fd")]:
            if number > 2:
                os.dup2(null, number)
    start_response("200 OK", TEXT)
    return [b"closed"]


application = by_path(globals())
