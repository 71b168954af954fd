"""The compatibility site on Quixote 3. Its publisher serves one request at a time: one thread a process."""

import hashlib
import json
from pathlib import Path

import quixote
from quixote import get_field, get_request, get_response, get_session, redirect
from quixote.directory import Directory, export
from quixote.errors import MethodNotAllowedError
from quixote.html import htmltext, url_quote
from quixote.http_response import Stream
from quixote.publish import Publisher
from quixote.session import Session, SessionManager
from quixote.util import StaticDirectory

STATIC = Path(__file__).resolve().parent / "static"
PAGE = htmltext(
    """<!doctype html>
<title>Compatibility</title>
<h1>Hello, %s!</h1>
<p><a href="%s">Greet</a></p>
"""
)


class Notes(Session):
    """A session: Quixote keeps one only if it says that there is something in it."""

    def __init__(self, id):
        super().__init__(id)
        self.notes = []

    def has_info(self):
        return bool(self.notes)

    is_dirty = has_info


def root():
    return get_request().get_environ("SCRIPT_NAME")


def only(*methods):
    if get_request().get_method() not in methods:
        raise MethodNotAllowedError(list(methods))


class Greet(Directory):
    def _q_lookup(self, component):
        get_response().set_content_type("text/plain")
        # Quixote leaves PATH_INFO as WSGI has it: bytes as latin-1.
        name = component.encode("latin-1").decode()
        return f"Hello, {name}!"


class Root(Directory):
    greet = Greet()
    files = StaticDirectory(str(STATIC))
    _q_exports = ["greet", "files"]

    @export(name="")
    def index(self):
        return PAGE % (get_field("name", "world"), root() + "/greet/" + url_quote("Jürgen €"))

    @export
    def old(self):
        return redirect(root() + "/")

    @export
    def where(self):
        get_response().set_content_type("text/plain")
        return get_request().get_url() + "?" + get_request().get_query()

    @export
    def notes(self):
        if get_request().get_method() == "POST":
            get_session().notes.append(get_field("text"))
            get_response().set_status(303)
            get_response().set_header("Location", root() + "/notes")
            return ""
        get_response().set_content_type("application/json")
        return json.dumps(get_session().notes)

    @export
    def upload(self):
        only("POST")
        file = get_field("file")
        content = file.fp.read()
        get_response().set_content_type("application/json")
        return json.dumps(
            {
                "title": get_field("title"),
                "name": file.orig_filename.encode("ascii", "surrogateescape").decode(),
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )

    @export
    def echo(self):
        only("POST", "PUT")
        request = get_request()
        get_response().set_content_type(request.get_environ("CONTENT_TYPE"), None)
        request.make_body_seekable()
        return request.stdin.read()

    @export
    def cookies(self):
        get_response().set_cookie("first", "1")
        get_response().set_cookie("second", "2")
        get_response().set_status(204)
        return ""

    @export
    def stream(self):
        get_response().set_content_type("text/plain")
        get_response().set_header("X-Accel-Buffering", "no")
        return Stream(f"piece {number}\n" for number in range(1, 6))

    @export
    def fail(self):
        raise RuntimeError("failed on purpose")


def create_publisher():
    return Publisher(
        Root(),
        session_manager=SessionManager(session_class=Notes),
        # GET, HEAD and POST are Quixote's own choice.
        allowed_methods=None,
    )


def make_application():
    """Quixote as WSGI wants it: left alone, it frames responses without a length itself, or closes the connection."""
    create_publisher()
    publish = quixote.get_wsgi_app()

    def application(environ, start_response):
        def start(status, headers, exc_info=None):
            kept = [pair for pair in headers if pair[0].lower() != "connection"]
            return start_response(status, kept, exc_info)

        # For HTTP/1.1 Quixote would send chunks, which is the web server's business.
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        return publish(environ, start)

    return application


application = make_application()
