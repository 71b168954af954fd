"""Counts what it is asked."""

from wsgi_fpm import metrics

ORDERS = metrics.counter("orders", 'Orders "taken".', ["country"])


def application(environ, start_response):
    ORDERS.labels('n"z').inc(2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"counted"]
