#!/usr/bin/env python3
"""What logs cost: requests a second over one kept FastCGI connection each, hello 1x1, in turns.

`log.py access NEW [OLD]`: without an access log (OLD, else NEW) and with one to a file (NEW).
`log.py unread NEW`: with the access log on standard error, a pipe that somebody reads, and one that nobody reads until the end; then how many lines
were left out.
"""
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS, SECONDS, CONNECTIONS = int(os.environ.get("ROUNDS", 9)), 1.0, 4


def record(kind, content):
    return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def request():
    params = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1",
              "SERVER_NAME": "x", "SERVER_PORT": "80", "REMOTE_ADDR": "192.0.2.1", "REQUEST_URI": "/"}
    pairs = b"".join(bytes([len(name), len(value)]) + name.encode() + value.encode() for name, value in params.items())
    return record(1, b"\0\1\1\0\0\0\0\0") + record(4, pairs) + record(4, b"") + record(5, b"")


def load(path, until, done):
    """One connection; counts answers."""
    peer, sent, count, buffer = socket.socket(socket.AF_UNIX), request(), 0, b""
    peer.connect(path)
    while time.monotonic() < until:
        peer.sendall(sent)
        while True:
            buffer += peer.recv(65536)
            end = False
            while len(buffer) >= 8:
                kind, length, padding = buffer[1], int.from_bytes(buffer[4:6], "big"), buffer[6]
                if len(buffer) < 8 + length + padding:
                    break
                buffer = buffer[8 + length + padding:]
                end = end or kind == 3
            if end:
                break
        count += 1
    done.append(count)


class Server:
    def __init__(self, program, directory, name, more, stderr):
        self.socket = os.path.join(directory, name + ".sock")
        command = [program, "serve", "apps:hello", "--listen", self.socket, "--workers", "1", "--threads", "1", "--connection-requests", "0",
                   "--chdir", HERE, *more]
        self.process = subprocess.Popen(command, stderr=stderr, env=dict(os.environ, PYTHONHASHSEED="0"))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.socket(socket.AF_UNIX).connect(self.socket)
                break
            except OSError:
                time.sleep(0.05)
        time.sleep(1)
        self.rates, self.times = [], []

    def cpu(self):
        total = 0
        for pid in [self.process.pid] + descendants(self.process.pid):
            with open("/proc/%d/stat" % pid) as stat:
                total += sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
        return total / os.sysconf("SC_CLK_TCK")

    def round(self):
        done, before, start = [], self.cpu(), time.monotonic()
        # Clients in processes of their own, since they are slower than what they measure.
        readers = []
        for _ in range(CONNECTIONS):
            receive, send = os.pipe()
            if os.fork() == 0:
                counts = []
                load(self.socket, start + SECONDS, counts)
                os.write(send, struct.pack("!Q", counts[0]))
                os._exit(0)
            os.close(send)
            readers.append(receive)
        for receive in readers:
            done.append(struct.unpack("!Q", os.read(receive, 8))[0])
            os.close(receive)
            os.wait()
        self.rates.append(sum(done) / (time.monotonic() - start))
        self.times.append((self.cpu() - before) / sum(done) * 1e6)


def descendants(pid):
    found = []
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % other) as stat:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found += [int(other)] + descendants(int(other))
        except OSError:
            pass
    return found


def report(servers):
    first = next(iter(servers.values()))
    for name, server in servers.items():
        ratios = [rate / one for rate, one in zip(server.rates, first.rates)]
        print("%-8s %8.0f requests/s  %6.2f us CPU/request  %.3f of the first" % (
            name, statistics.median(server.rates), statistics.median(server.times), statistics.median(ratios)))


def main():
    case, new = sys.argv[1:3]
    old = sys.argv[3] if len(sys.argv) > 3 else new
    with tempfile.TemporaryDirectory() as directory:
        if case == "access":
            servers = {
                "without": Server(old, directory, "without", [], subprocess.DEVNULL),
                "file": Server(new, directory, "file", ["--access-log=%s/access.log" % directory], subprocess.DEVNULL),
            }
        else:
            servers = {
                "read": Server(new, directory, "read", ["--access-log"], subprocess.PIPE),
                "unread": Server(new, directory, "unread", ["--access-log"], subprocess.PIPE),
            }
            reader = servers["read"].process.stderr
            threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader.fileno(), 1 << 20), b"")], daemon=True).start()
        for _ in range(ROUNDS):
            for server in servers.values():
                server.round()
        report(servers)
        for server in servers.values():
            server.process.terminate()
        if case == "unread":
            text = servers["unread"].process.stderr.read().decode()
            lost = sum(int(line.split("contract::log: ")[1].split()[0]) for line in text.splitlines() if "were lost since nobody" in line)
            print("unread: %d lines were read at the end, %d left out" % (text.count(" access: "), lost))
        for server in servers.values():
            server.process.wait()


main()
