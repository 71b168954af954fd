"""The compatibility site on Pyramid and Jinja."""

import hashlib
from pathlib import Path

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPSeeOther
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

STATIC = Path(__file__).resolve().parent / "static"


@view_config(route_name="index", renderer="templates/index.jinja2")
def index(request):
    return {"name": request.params.get("name", "world")}


@view_config(route_name="greet")
def greet(request):
    return Response(f"Hello, {request.matchdict['name']}!", content_type="text/plain")


@view_config(route_name="old")
def old(request):
    return HTTPFound(request.route_url("index"))


@view_config(route_name="where")
def where(request):
    return Response(request.url, content_type="text/plain")


@view_config(route_name="notes", request_method="GET", renderer="json")
def notes(request):
    return request.session.get("notes", [])


@view_config(route_name="notes", request_method="POST")
def add_note(request):
    request.session["notes"] = request.session.get("notes", []) + [request.POST["text"]]
    return HTTPSeeOther(request.route_url("notes"))


@view_config(route_name="upload", request_method="POST", renderer="json")
def upload(request):
    file = request.POST["file"]
    content = file.file.read()
    return {
        "title": request.POST["title"],
        "name": file.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@view_config(route_name="echo", request_method=("POST", "PUT"))
def echo(request):
    return Response(request.body, content_type=request.content_type)


@view_config(route_name="cookies")
def cookies(request):
    response = Response(status=204)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@view_config(route_name="stream")
def stream(request):
    pieces = (b"piece %d\n" % number for number in range(1, 6))
    response = Response(app_iter=pieces, content_type="text/plain")
    response.headers["X-Accel-Buffering"] = "no"
    return response


@view_config(route_name="fail")
def fail(request):
    raise RuntimeError("failed on purpose")


def make_application():
    config = Configurator(session_factory=SignedCookieSessionFactory("for tests alone"))
    config.include("pyramid_jinja2")
    config.add_route("index", "/")
    config.add_route("greet", "/greet/{name}")
    for name in ("old", "where", "notes", "upload", "echo", "cookies", "stream", "fail"):
        config.add_route(name, f"/{name}")
    config.add_static_view("files", str(STATIC))
    config.scan(__name__)
    return config.make_wsgi_app()


application = make_application()
