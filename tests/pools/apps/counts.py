"""Counts what it is asked."""

from wsgi_fpm import metrics

ORDERS = metrics.counter("orders", 'Orders "taken".', ["country"])
metrics.histogram("took", "Whatever took time.").observe(1)


def application(environ, start_response):
    ORDERS.labels('n"z').inc(2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"counted"]
