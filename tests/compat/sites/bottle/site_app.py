"""The compatibility site on Bottle and its own templates."""

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import bottle
from bottle import request, response

HERE = Path(__file__).resolve().parent
SECRET = "for tests alone"

bottle.TEMPLATE_PATH.insert(0, str(HERE / "views"))
application = bottle.Bottle()


@application.get("/")
def index():
    # Bottle escapes only what comes into the query.
    link = application.get_url("greet", name=quote("Jürgen €"))
    return bottle.template("index", name=request.query.getunicode("name", "world"), greet=link)


@application.get("/greet/<name>", name="greet")
def greet(name):
    response.content_type = "text/plain; charset=utf-8"
    return f"Hello, {name}!"


@application.get("/old")
def old():
    bottle.redirect(request.script_name, 302)


@application.get("/where")
def where():
    response.content_type = "text/plain"
    return request.url


@application.get("/notes")
def notes():
    response.content_type = "application/json"
    return json.dumps(request.get_cookie("notes", default=[], secret=SECRET))


@application.post("/notes")
def add_note():
    notes = request.get_cookie("notes", default=[], secret=SECRET)
    response.set_cookie("notes", notes + [request.forms.getunicode("text")], secret=SECRET)
    bottle.redirect(request.script_name + "notes", 303)


@application.post("/upload")
def upload():
    file = request.files.get("file")
    content = file.file.read()
    return {
        "title": request.forms.getunicode("title"),
        "name": file.raw_filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@application.route("/echo", method=["POST", "PUT"])
def echo():
    response.content_type = request.content_type
    return request.body


@application.get("/cookies")
def cookies():
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    response.status = 204


@application.get("/stream")
def stream():
    response.content_type = "text/plain"
    response.set_header("X-Accel-Buffering", "no")
    for number in range(1, 6):
        yield f"piece {number}\n"


@application.get("/fail")
def fail():
    raise RuntimeError("failed on purpose")


@application.get("/files/<path:path>")
def files(path):
    return bottle.static_file(path, root=str(HERE / "static"))
