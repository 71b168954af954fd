#!/usr/bin/env python3
"""Two hosts behind one web server, one of which is taken away under load: how many requests fail, and how long the others take.

Needs root, for network namespaces, and nginx or haproxy. Each trial: requests at a fixed rate, a quarter of them POST, each of
50 ms; after 3 s something happens to host b. docs/scaling.md has the figures and the configuration, which is that of this folder.
"""

import argparse
import collections
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from hosts import Host, Network

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
EVENTS = {
    "none": "nothing",
    "drain": "taken out of the web server, then SIGTERM",
    "term": "SIGTERM",
    "kill": "kill -9 of all its processes",
    "cable": "its cable is pulled",
}
# For the front: a peer that has vanished is noticed within seconds, and not after a quarter of an hour.
KERNEL = {
    "net.ipv4.tcp_retries2": 4,
    "net.ipv4.tcp_keepalive_time": 3,
    "net.ipv4.tcp_keepalive_intvl": 1,
    "net.ipv4.tcp_keepalive_probes": 3,
}
BEFORE = 3


class Front:
    """nginx or HAProxy. `plain` takes what docs/scaling.md adds out again."""

    def __init__(self, network, server, plain, directory):
        self.network, self.server, self.directory = network, server, directory
        self.conf = os.path.join(directory, server + ".conf")
        with open(os.path.join(HERE, "nginx.conf" if server == "nginx" else "haproxy.cfg")) as file:
            text = file.read().replace("DIRECTORY", directory)
        if plain:
            text = plainly(text)
        else:
            network.kernel("front", KERNEL)
        self.write(text)
        shutil.copy(os.path.join(TOP, "nginx/wsgi_fpm_params"), directory)
        command = ["nginx", "-c", self.conf, "-g", "daemon off;"] if server == "nginx" else ["haproxy", "-db", "-f", self.conf]
        with open(os.path.join(directory, "front.log"), "w") as log:
            self.process = subprocess.Popen(network.inside("front", *command), stdout=log, stderr=log)

    def write(self, text):
        self.text = text
        with open(self.conf, "w") as file:
            file.write(text)

    def take_out(self, address):
        """Sends no further requests to a host; what runs there goes on."""
        if self.server == "nginx":
            self.write(re.sub(r"server %s:9000[^;]*;" % re.escape(address), "server %s:9000 down;" % address, self.text))
            self.process.send_signal(signal.SIGHUP)
        else:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(os.path.join(self.directory, "haproxy.sock"))
                client.sendall(b"set server app/b state drain\n")
                client.recv(100)


def plainly(text):
    """Without zone, least connections, checks, timeouts and retries: what stands in the first example of every tutorial."""
    dropped = (" zone ", "least_conn;", "the fewest requests", "balance leastconn", "fastcgi_connect_timeout", "fastcgi_next_upstream", "fastcgi_socket_keepalive", "fastcgi_read_timeout",
               "option redispatch", "retries", "retry-on", "disable-l7-retry", "tcp-check", "default-server", "timeout ")
    lines = [line for line in text.splitlines() if not any(word in line for word in dropped)]
    text = re.sub(r" max_fails=\d+ fail_timeout=\w+", "", "\n".join(lines) + "\n")
    text = re.sub(r"(server [ab] \S+)", r"\1 proto fcgi", text)
    # Debian's own haproxy.cfg has these.
    return text.replace("mode http", "mode http\n    timeout connect 5s\n    timeout client 50s\n    timeout server 50s")


def happen(event, front, network, hosts):
    if event == "drain":
        front.take_out("198.18.0.3")
        time.sleep(1)
    if event in ("drain", "term"):
        hosts["b"].process.send_signal(signal.SIGTERM)
    elif event == "kill":
        network.kill("b")
    elif event == "cable":
        network.plug("b", "down")


def trial(program, server, event, plain, rate, seconds):
    """Returns the results of all requests, when it has happened, and how often each request was run."""
    with tempfile.TemporaryDirectory(prefix="two-hosts-") as directory:
        network = Network()
        try:
            hosts = {name: Host(network, name, program, directory) for name in ("a", "b")}
            for host in hosts.values():
                host.wait_until_ready()
            front = Front(network, server, plain, directory)
            # HAProxy's checks begin with both hosts up, and nginx has none.
            time.sleep(1.5)
            client = subprocess.Popen(
                network.inside("front", sys.executable, os.path.join(HERE, "client.py"), "8080", str(rate), str(seconds + BEFORE)),
                stdout=subprocess.PIPE, text=True)
            time.sleep(BEFORE)
            moment = time.time()
            happen(event, front, network, hosts)
            output = client.communicate(timeout=seconds + 90)[0]
            with open(os.path.join(directory, "seen")) as file:
                seen = collections.Counter(file.read().split())
            return [json.loads(line) for line in output.splitlines()], moment, seen
        finally:
            network.close()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000 if values else float("nan")


def row(server, event, plain, results, moment, seen):
    after = [result for result in results if result["due"] > moment - 0.2]
    failed = collections.Counter(result["method"] for result in after if result["status"] != 200)
    took = [result["took"] for result in after]
    slow = sum(1 for value in took if value > 1)
    again = sum(1 for count in seen.values() if count > 1)
    last = max((result["due"] - moment for result in after if result["status"] != 200 or result["took"] > 1), default=0)
    statuses = collections.Counter(result["status"] for result in after if result["status"] != 200)
    print("| %s%s | %s | %d | %d | %d | %d | %d | %.0f | %.0f | %.1f | %.1f |" % (
        server, ", plain" if plain else "", EVENTS[event], len(after), failed["GET"], failed["POST"], again, slow, percentile(took, 0.5),
        percentile(took, 0.99), max(took), max(last, 0)), flush=True)
    if statuses:
        print("  " + ", ".join("%d times %d" % (count, status) for status, count in sorted(statuses.items())), file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(TOP, "target/release/wsgi-fpm"))
    parser.add_argument("--servers", nargs="+", choices=["nginx", "haproxy"], default=["nginx", "haproxy"])
    parser.add_argument("--events", nargs="+", choices=list(EVENTS), default=list(EVENTS))
    parser.add_argument("--plain", choices=["yes", "no", "both"], default="no", help="without what docs/scaling.md adds")
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--seconds", type=int, default=12, help="after it has happened")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("two_hosts: run as root: it makes network namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("| web server | what happens to b | requests | GET failed | POST failed | ran twice | over 1 s | median, ms | 99 %, ms | longest, s "
          "| over by, s |\n|" + "---|" * 11)
    for plain in {"yes": [True], "no": [False], "both": [True, False]}[options.plain]:
        for server in options.servers:
            for event in options.events:
                results, moment, seen = trial(os.path.abspath(options.program), server, event, plain, options.rate, options.seconds)
                row(server, event, plain, results, moment, seen)


if __name__ == "__main__":
    main()
