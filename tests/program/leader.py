"""Stands in for a leader: speaks the control protocol on descriptor 0 and does what a file tells it to.

usage: leader.py BEHAVIOUR_FILE. The file's words: "fail" (report a failure), "crash" (exit with 3 before being ready),
"alone" (must not be preloaded), "loud" (print before being ready), "late" (be ready only when the word is gone),
"stubborn" (obey nothing).
"""
import array
import json
import os
import socket
import sys
import time


def words():
    with open(sys.argv[1]) as file:
        return file.read().split()


def receive_settings(control):
    data, ancillary, _, _ = control.recvmsg(1 << 20, 1 << 12)
    fds = array.array("i")
    for _, _, packed in ancillary:
        fds.frombytes(packed)
    while not data.endswith(b"\n"):
        data += control.recv(1 << 20)
    return json.loads(data)["settings"], list(fds)


def send(control, message):
    control.sendall(json.dumps(message).encode() + b"\n")


def main():
    control = socket.socket(fileno=os.dup(0))
    settings, fds = receive_settings(control)
    todo = words()
    if "crash" in todo:
        print("last words", file=sys.stderr)
        return 3
    if "fail" in todo:
        send(control, {"failed": {"reason": "ImportError: no module", "detail": "Traceback\n  line one\nImportError"}})
        return 1
    if "alone" in todo and settings["preload"]:
        send(control, {"not_preloadable": {"reason": "importing it starts threads"}})
        return 0
    if "loud" in todo:
        os.write(1, b"to stdout\n")
        os.write(2, b"to stderr \x1b[31m\n" + b"x" * 10000 + b"\nlast line without an end")
    while "late" in todo:
        time.sleep(0.01)
        todo = words()
    listeners = [socket.socket(fileno=fd) for fd in fds[8:]]
    listening = [listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for listener in listeners]
    print("settings", json.dumps(settings), flush=True)
    print("listening", listening, "blocking", [os.get_blocking(fd) for fd in fds[8:]], flush=True)
    print("slots", os.fstat(fds[1]).st_size, "variable", os.environ.get("VARIABLE"), flush=True)
    print("FLASK_DEBUG=%s." % os.environ.get("FLASK_DEBUG"), flush=True)
    os.write(fds[0], b"straight to the log\n")
    send(control, {"ready": {"python": "stand-in"}})
    while True:
        data = control.recv(4096)
        if not data:
            return 0
        for line in data.splitlines():
            order = json.loads(line)
            if order == "serve":
                print("told that it may serve", flush=True)
                continue
            print("told to", order, flush=True)
            if "stubborn" not in todo:
                return 0


sys.exit(main())
