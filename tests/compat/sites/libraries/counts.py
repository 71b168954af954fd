"""prometheus_client in its multiprocess mode: whichever worker is asked for the metrics has those of all."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

HITS = Counter("hits", "Requests.")
BUSY = Gauge("busy", "What runs.", multiprocess_mode="livesum")
EACH = Gauge("each", "By process.", multiprocess_mode="liveall")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return [generate_latest(registry)]
    HITS.inc()
    BUSY.inc(2)
    EACH.set(1)
    return [b"%d" % os.getpid()]
