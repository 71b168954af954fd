"""State that outlives a request, for tests that look at an application from outside.

Every test uses keys of its own (the query string), since tests share a process.
"""

import collections
import json
import threading

TEXT = [("Content-Type", "text/plain")]

events = collections.defaultdict(list)
gates = collections.defaultdict(threading.Event)


def key(environ):
    return environ["QUERY_STRING"]


def recorded(environ, start_response):
    """What happened under the key, as JSON."""
    body = json.dumps(events[key(environ)]).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def open_gate(environ, start_response):
    """Lets those go on that wait at the key's gate."""
    gates[key(environ)].set()
    start_response("200 OK", TEXT)
    return [b"open"]


def wait_at_gate(name):
    if not gates[name].wait(30):
        raise TimeoutError("nobody has opened the gate " + name)


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]
