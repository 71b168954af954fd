"""start_response() and write() (SPEC C2 to C16) and what the head becomes (C25 to C35)."""

import gc
import sys
import threading
import weakref

from dispatch import by_path
from shared import TEXT, events, hello, key, recorded, wait_at_gate, open_gate


class Text(str):
    """A subclass of str, as werkzeug and Django use."""


def attempt(environ, start_response):
    """Calls start_response with the arguments that the body writes in Python; reports what it raised."""
    arguments = eval(environ["wsgi.input"].read(), globals())
    try:
        start_response(*arguments)
    except Exception as error:
        report = "raised {}".format(type(error).__name__).encode()
        start_response("200 OK", TEXT + [("X-Raised", type(error).__name__)], sys.exc_info())
        return [report]
    return [b"accepted"]


def refused_between(environ, start_response):
    """One that is accepted, one with exc_info that raises, one without."""
    start_response("200 OK", TEXT)
    outcomes = []
    for arguments in (("not a status", TEXT), ("200 OK", [("X-Third", "1")])):
        try:
            if not outcomes:
                try:
                    raise RuntimeError
                except RuntimeError:
                    start_response(*arguments, sys.exc_info())
            else:
                start_response(*arguments)
        except Exception as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("accepted")
    try:
        raise RuntimeError
    except RuntimeError:
        start_response("200 OK", TEXT, sys.exc_info())
    return [" ".join(outcomes).encode()]


def twice(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        start_response("201 Created", TEXT)
    except Exception as error:
        return ["raised {}".format(type(error).__name__).encode()]
    return [b"accepted"]


def twice_uncaught(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("201 Created", TEXT)
    return [b"never"]


def write_callable(environ, start_response):
    results = [callable(start_response("200 OK", TEXT))]
    try:
        raise KeyError
    except KeyError:
        results.append(callable(start_response("200 OK", TEXT, sys.exc_info())))
    return [repr(results).encode()]


def none_exc_info(environ, start_response):
    """A third argument of None, by position and by name, is as if it were not there."""
    start_response("200 OK", TEXT, None)
    return [b"none"]


def replaced(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("X-First", "1"), ("Content-Length", "3")])
    try:
        raise KeyError
    except KeyError:
        start_response("503 Second", [("X-Second", "2")], sys.exc_info())
    return [b"second"]


def replaced_from_generator(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    yield b""
    try:
        raise KeyError
    except KeyError:
        start_response("503 Second", [("X-Second", "2")], sys.exc_info())
    yield b"second"


class Original(Exception):
    pass


alive = {}


def reraised(environ, start_response):
    """With exc_info after the head went out: the same object with its own traceback comes back."""
    write = start_response("200 OK", TEXT)
    write(b"head;")

    def failing():
        raise Original

    try:
        failing()
    except Original as original:
        alive[key(environ)] = weakref.ref(original)
        try:
            start_response("500 Too late", [], sys.exc_info())
        except BaseException as caught:
            names = []
            traceback = caught.__traceback__
            while traceback is not None:
                names.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            same = caught is original and caught.__context__ is None and "failing" in names
            return [b"same" if same else repr((caught, names)).encode()]
    return [b"not raised"]


def still_alive(environ, start_response):
    """Whether something still refers to the exception of the key, cycles included."""
    reference = alive[key(environ)]
    before = reference() is not None
    gc.collect()
    start_response("200 OK", TEXT)
    return [repr((before, reference() is not None)).encode()]


def mutated(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("X-Kept", "1")]
    start_response("200 OK", headers)
    headers.append(("X-Late", "1"))
    headers[1] = ("X-Kept", "2")
    yield b"body"


def write_then_iterable(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"a")
    write(b"")
    return [b"b", b"c"]


def write_only(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"written")
    return []


def write_bytes_subclass(environ, start_response):
    class Bytes(bytes):
        pass

    start_response("200 OK", TEXT)(Bytes(b"sub"))
    return [Bytes(b"class")]


def write_types(environ, start_response):
    write = start_response("200 OK", TEXT)
    outcomes = []
    for value in ("text", bytearray(b"x"), memoryview(b"x"), 1, None):
        try:
            write(value)
        except TypeError:
            outcomes.append("TypeError")
        except Exception as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("accepted")
    return [" ".join(outcomes).encode()]


def write_after_failed_start(environ, start_response):
    """The write() of a call that a later, failed one has replaced."""
    write = start_response("200 OK", TEXT)
    try:
        raise KeyError
    except KeyError:
        try:
            start_response("no status", TEXT, sys.exc_info())
        except Exception:
            pass
    try:
        write(b"lost")
    except Exception as error:
        events[key(environ)].append(type(error).__name__)
        raise
    return []


def return_after_failed_start(environ, start_response):
    try:
        start_response("no status", TEXT)
    except Exception:
        pass
    return [b"lost"]


def write_flushes(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"before;")
    wait_at_gate(key(environ))
    write(b"after")
    return []


def write_empty_first(environ, start_response):
    """write(b"") is no output (A24), what follows is."""
    write = start_response("200 OK", TEXT)
    write(b"")
    return [b"", b"body"]


stash = {}


def stashed(environ, start_response):
    write = start_response("200 OK", TEXT)
    stash[key(environ)] = (start_response, write)
    return [b"stashed"]


def use_stashed(environ, start_response):
    """Uses the callables of an ended request from this request and from another thread."""
    old_start_response, old_write = stash[key(environ)]
    outcomes = []

    def use():
        for call in (
            lambda: old_write(b"FOREIGN"),
            lambda: old_start_response("200 OK", [("X-Foreign", "1")]),
        ):
            try:
                call()
            except Exception as error:
                outcomes.append("raised")
            else:
                outcomes.append("accepted")

    start_response("200 OK", TEXT)
    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    return [" ".join(outcomes).encode()]


def two_cookies(environ, start_response):
    start_response(
        "200 OK",
        [("Set-Cookie", "a=1"), ("content-TYPE", "text/plain"), ("Set-Cookie", "b=2"), ("x-lower", "v"), ("ETag", '"e"')],
    )
    return [b"cookies"]


def no_headers(environ, start_response):
    start_response("200 OK", [])
    return [b"bare", b" body"]


def trimmed(environ, start_response):
    start_response("200 OK", [("X-Trimmed", " \t v w\t "), ("X-Tab", "a\tb"), ("X-Empty", ""), ("X-Latin", "caf\xe9")])
    return [b""]


def redirect_ok(environ, start_response):
    start_response("200 OK", TEXT + [("Location", "/elsewhere")])
    return [b"see Location"]


def created(environ, start_response):
    start_response("201 Created", TEXT + [("Location", "/new")])
    return [b"created"]


def status(environ, start_response):
    """The status of the query, with a body where one is allowed."""
    start_response(environ["QUERY_STRING"].replace("+", " "), TEXT)
    return [b"body"]


def big_head(environ, start_response):
    """A head with as many bytes of cookies as the query says, in lines of at most 1000."""
    total = int(environ["QUERY_STRING"])
    headers = [("Content-Type", "text/plain")]
    while total > 0:
        line = min(total, 1000)
        headers.append(("Set-Cookie", "c" * max(line - len("Set-Cookie: \r\n"), 1)))
        total -= line
    start_response("200 OK", headers)
    return [b"big head"]


def long_line(environ, start_response):
    """One line of exactly the bytes of the query, without its CRLF."""
    length = int(environ["QUERY_STRING"]) - len("X-Long: ")
    start_response("200 OK", [("X-Long", "v" * length)])
    return [b"long line"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def no_content_with_body(environ, start_response):
    start_response("204 No Content", [])
    return [b"must not be sent"]


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "1000"), ("Content-Type", "text/x")])
    return [b"must not be sent"]


def sized(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "5")])
    return [b"sized"]


def generator(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"gene"
    yield b"rator"


def two_items(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"two", b"items"]


def empty_list(environ, start_response):
    start_response("200 OK", TEXT)
    return []


def one_empty_item(environ, start_response):
    start_response("200 OK", TEXT)
    return [b""]


class Lying(object):
    """An iterable whose len() is what `length` gives."""

    def __init__(self, items, length):
        self.items, self.length = items, length

    def __len__(self):
        return self.length()

    def __iter__(self):
        return iter(self.items)


def length_raises(environ, start_response):
    def length():
        raise ValueError("no length")

    start_response("200 OK", TEXT)
    return Lying([b"len", b"raises"], length)


def length_too_small(environ, start_response):
    start_response("200 OK", TEXT)
    return Lying([b"one", b"two"], lambda: 1)


def length_too_big(environ, start_response):
    start_response("200 OK", TEXT)
    return Lying([], lambda: 1)


application = by_path(globals())
