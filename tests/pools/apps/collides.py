"""Counts under names that series of another application have."""

from wsgi_fpm import metrics

metrics.gauge("took_bucket", "A gauge.").set(1)
metrics.gauge("orders", "A gauge.").set(1)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"counted"]
