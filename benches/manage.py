#!/usr/bin/env python3
"""Measures what processes cost when they come and go under load: reloads, recycled workers, kills.

Each server is loaded through nginx with POSTs of 1 KiB by 16 clients, first quietly, then while something happens to
its processes. For each: requests that failed, quantiles of their time and the longest, and the p99 and the throughput
against the quiet time before. Servers are measured one after the other in one run; only ratios mean anything.
"""
import argparse
import functools
import json
import os
import random
import signal
import threading

import compare

# What a server can't do at all is not measured.
OURS = "ours"
CASES = {
    "quiet": "nothing happens",
    "reload": "12 reloads (SIGHUP)",
    "reloads": "200 reloads in a row",
    "recycle": "a worker is replaced after 200 requests",
    "resize": "from 1 worker to 4 and back, over and over",
    "kill": "a random worker is killed (SIGKILL) each second",
    "kill-leader": "the leader is killed (SIGKILL) 6 times",
    "upgrade": "the program replaces itself 6 times (SIGUSR2)",
}
REPORT = """
wrk.method = "POST"
wrk.body = string.rep("z", 1024)
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nJSON {"requests": %d, "seconds": %f, "status": %d, "connect": %d, "read": %d, "write": %d, '
    .. '"timeout": %d, "p50": %f, "p90": %f, "p99": %f, "longest": %f}\\n', summary.requests, summary.duration / 1e6, e.status,
    e.connect, e.read, e.write, e.timeout, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="SERVER", help="as for compare.py")
    parser.add_argument("--venv", required=True, help="where the other servers are")
    parser.add_argument("--does", choices=CASES, default="reload", help="; ".join(map(": ".join, CASES.items())))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=14)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--option", action="append", default=[], help="one more option for wsgi-fpm (--option=--spare=2)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def kind_of(spec):
    return OURS if "=" in spec else spec


class Managed(compare.Server):
    """A server whose processes can be named."""

    def __init__(self, spec, number, args, directory, more):
        self.kind = kind_of(spec)
        super().__init__(spec, number, args, directory, more + (args.option if self.kind == OURS else []))

    def workers(self):
        if self.kind == OURS:
            return [pid for pid in self.processes() if ", worker " in command_line(pid)]
        # Of a master and its children, whoever has no children itself and is no helper of multiprocessing.
        return [pid for pid in self.processes()
                if len(compare.descendants(pid)) == 1 and "resource_tracker" not in command_line(pid)]

    def leaders(self):
        return [pid for pid in self.processes() if command_line(pid).endswith(", leader")]

    def signal(self, number):
        os.kill(self.process.pid, number)


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def kill_one(server, chance):
    workers = server.workers()
    if workers:
        try:
            os.kill(chance.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_leader(server, _chance):
    for leader in server.leaders():
        os.kill(leader, signal.SIGKILL)


class Resize:
    """One step to four workers, then one back to one."""

    def __init__(self):
        self.steps = 0

    def __call__(self, server, _chance):
        server.signal(signal.SIGTTIN if self.steps % 6 < 3 else signal.SIGTTOU)
        self.steps += 1


def happenings(case, seconds):
    """What is done to a server, and how often in the time that it is measured."""
    return {
        "quiet": (None, 0),
        "reload": (lambda server, _: server.signal(signal.SIGHUP), 12),
        "reloads": (lambda server, _: server.signal(signal.SIGHUP), 200),
        "recycle": (None, 0),
        "resize": (Resize(), 24),
        "kill": (kill_one, seconds),
        "kill-leader": (kill_leader, 6),
        "upgrade": (lambda server, _: server.signal(signal.SIGUSR2), 6),
    }[case]


def disturb(server, case, seconds, chance, over):
    what, times = happenings(case, seconds)
    for _ in range(times):
        if over.wait(seconds / times):
            return
        what(server, chance)


def load(server, connections, seconds):
    result = json.loads(compare.load(server, connections, seconds, REPORT).split("\nJSON ", 1)[1])
    result["failed"] = sum(result[name] for name in ("status", "connect", "read", "write", "timeout"))
    result["rate"] = result["requests"] / result["seconds"]
    return result


def extra_options(args, kind):
    """What makes a server's workers come and go by itself."""
    if args.does != "recycle":
        return []
    # uWSGI leaves a worker a minute otherwise, whatever it has served.
    of_uwsgi = ["--max-requests", "200", "--min-worker-lifetime", "1"]
    return {
        OURS: ["--max-requests", "200"],
        "uwsgi": of_uwsgi,
        "uwsgi-fastcgi": of_uwsgi,
        "gunicorn": ["--max-requests", "200", "--max-requests-jitter", "40"],
    }.get(kind, [])


def can(kind, case):
    if case in ("resize", "kill-leader", "upgrade"):
        return kind == OURS or case == "resize" and kind == "gunicorn"
    return not (case == "recycle" and kind == "granian")


def main():
    args = options()
    args.case = "echo"
    chance = random.Random(args.seed)
    print("%s (%s), %d x %d, %d connections, %d s" % (args.does, CASES[args.does], args.workers, args.threads,
                                                      args.connections, args.seconds))
    for spec in args.servers:
        if can(kind_of(spec), args.does):
            measure(spec, args, chance)
        else:
            print("  %-14s can't" % spec.partition("=")[0])


def measure(spec, args, chance):
    def running(more):
        return compare.running([spec], args, functools.partial(Managed, more=more))

    with running([]) as [server]:
        quiet = load(server, args.connections, max(args.seconds // 2, 1))
    with running(extra_options(args, kind_of(spec))) as [server]:
        over = threading.Event()
        disturbing = threading.Thread(target=disturb, args=(server, args.does, args.seconds, chance, over))
        disturbing.start()
        result = load(server, args.connections, args.seconds)
        over.set()
        disturbing.join()
    print("  %-14s %3d of %7d failed   p50 %6.2f  p90 %6.2f  p99 %7.2f  longest %7.1f ms   against quiet: p99 %6.2f, "
          "requests/s %.2f" % (server.name, result["failed"], result["requests"], result["p50"], result["p90"],
                               result["p99"], result["longest"], result["p99"] / quiet["p99"],
                               result["rate"] / quiet["rate"]), flush=True)


if __name__ == "__main__":
    main()
