"""Whether anybody waits for the response still, asked by `environ["wsgi_fpm.client_gone"]`."""

import threading
import time

from dispatch import by_path
from shared import TEXT, events, gates, hello, key, open_gate, recorded

KEPT = {}


def asks_until_gone(environ, start_response):
    """Notes the first answer, and the last one: when it is true or the gate is open. Then it reads and writes all the same."""
    name, client_gone = key(environ), environ["wsgi_fpm.client_gone"]
    events[name].append(client_gone())
    while not client_gone() and not gates[name].is_set():
        time.sleep(0.005)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(client_gone()))
    thread.start()
    thread.join()
    events[name].append([client_gone()] + elsewhere)
    if gates[name].is_set():
        start_response("200 OK", TEXT)
        return [b"wanted"]
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        events[name].append("reading: {}".format(error))
    write = start_response("200 OK", TEXT)
    try:
        # Over TCP the system refuses what comes behind the first bytes that reach nobody.
        for _ in range(1000):
            write(b"unwanted")
            time.sleep(0.005)
    except OSError as error:
        events[name].append("writing: {}".format(error))
        raise
    return [b"unwanted"]


def ignores_its_timeout(environ, start_response):
    """Notes the answer after its client has got a 504."""
    client_gone, given_up = environ["wsgi_fpm.client_gone"], False
    while not given_up:
        try:
            time.sleep(0.005)
        except BaseException:
            given_up = True
    events[key(environ)].append(client_gone())
    start_response("200 OK", TEXT)
    return [b"late"]


def keeps(environ, start_response):
    KEPT[key(environ)] = environ["wsgi_fpm.client_gone"]
    start_response("200 OK", TEXT)
    return [repr(KEPT[key(environ)]()).encode()]


def asks_kept(environ, start_response):
    """The one that was kept, and this request's own."""
    start_response("200 OK", TEXT)
    return [repr([KEPT[key(environ)](), environ["wsgi_fpm.client_gone"]()]).encode()]


application = by_path(globals())
