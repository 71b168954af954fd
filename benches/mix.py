#!/usr/bin/env python3
"""Measures how long requests wait where some of them take long: behind one nginx, the same load, in turns, in one run.

For each server the requests a second and how long the fastest 50, 90, 98 and 99 % took at most, in milliseconds (medians of the
rounds). Three cases: 4 workers of one thread, 0.3 % of the requests sleep for half a second; 2 x 4, 1 % compute for 20 ms; 2 x 8,
each sleeps for 20 ms, of which the ideal is known.
"""
import argparse
import re
import statistics
import sys

import compare

# Workers, threads, and requests a second where that many can't be exceeded.
CASES = {"some-sleep": (4, 1, None), "some-compute": (2, 4, None), "all-sleep": (2, 8, 800)}
PERCENTILES = (50, 90, 98, 99)
REPORT = """
done = function(summary, latency, requests)
  for _, p in ipairs({%s}) do io.write(string.format("p%%d %%.3f\\n", p, latency:percentile(p) / 1000)) end
end
""" % ", ".join(map(str, PERCENTILES))


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="SERVER", help="as compare.py takes them")
    parser.add_argument("--venv", required=True, help="where the other servers are")
    parser.add_argument("--case", choices=CASES, action="append", help="default: each")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    return parser.parse_args()


def run(case, args):
    workers, threads, ideal = CASES[case]
    chosen = argparse.Namespace(case=case, workers=workers, threads=threads, venv=args.venv)
    with compare.running(args.servers, chosen) as servers:
        waits = {server: [] for server in servers}
        for server in compare.in_turns(servers, args.rounds):
            wrk = compare.measure(server, args, REPORT)
            waits[server].append([float(re.search(r"^p%d ([\d.]+)" % p, wrk, re.M).group(1)) for p in PERCENTILES])
        print("%s, %d x %d, %d connections" % (case, workers, threads, args.connections))
        for server in servers:
            medians = [statistics.median(column) for column in zip(*waits[server])]
            print("  %-14s %8.0f requests/s%s  %6.1f us  %s%s" % (
                server.name, statistics.median(server.rates),
                "" if ideal is None else " (%.2f of the ideal)" % (statistics.median(server.rates) / ideal),
                statistics.median(server.times), "  ".join("p%d %.2f" % pair for pair in zip(PERCENTILES, medians)),
                "   %d FAILED" % server.failed if server.failed else ""), flush=True)


def main():
    args = options()
    for case in args.case or CASES:
        run(case, args)


if __name__ == "__main__":
    sys.exit(main())
