"""The compatibility site on Falcon, which has neither sessions nor templates: cookies and a string do."""

import hashlib
import html
import json
from pathlib import Path
from urllib.parse import quote, unquote

import falcon

STATIC = Path(__file__).resolve().parent / "static"
PAGE = """<!doctype html>
<title>Compatibility</title>
<h1>Hello, {name}!</h1>
<p><a href="{greet}">Greet</a></p>
"""


class Index:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_HTML
        name = html.escape(req.get_param("name", default="world"))
        resp.text = PAGE.format(name=name, greet=f"{req.root_path}/greet/{quote('Jürgen €')}")


class Greet:
    def on_get(self, req, resp, name):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"Hello, {name}!"


class Old:
    def on_get(self, req, resp):
        raise falcon.HTTPFound(f"{req.root_path}/")


class Where:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = req.url


class Notes:
    def on_get(self, req, resp):
        resp.media = self._notes(req)

    def on_post(self, req, resp):
        notes = [*self._notes(req), req.get_media()["text"]]
        # A cookie takes ASCII without quotes and commas.
        resp.set_cookie("notes", quote(json.dumps(notes)), secure=False)
        raise falcon.HTTPSeeOther(f"{req.root_path}/notes")

    def _notes(self, req):
        values = req.get_cookie_values("notes")
        return json.loads(unquote(values[0])) if values else []


class Upload:
    def on_post(self, req, resp):
        answer = {}
        for part in req.get_media():
            if part.name == "file":
                content = part.stream.read()
                answer["name"] = part.filename
                answer["size"] = len(content)
                answer["sha256"] = hashlib.sha256(content).hexdigest()
            else:
                answer[part.name] = part.text
        resp.media = answer


class Echo:
    def on_post(self, req, resp):
        resp.content_type = req.content_type
        resp.data = req.bounded_stream.read()

    on_put = on_post


class Cookies:
    def on_get(self, req, resp):
        resp.set_cookie("first", "1", secure=False)
        resp.set_cookie("second", "2", secure=False)
        resp.status = falcon.HTTP_204


class Stream:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.set_header("X-Accel-Buffering", "no")
        resp.stream = (b"piece %d\n" % number for number in range(1, 6))


class Fail:
    def on_get(self, req, resp):
        raise RuntimeError("failed on purpose")


application = falcon.App()
application.add_route("/", Index())
application.add_route("/greet/{name}", Greet())
for resource in (Old, Where, Notes, Upload, Echo, Cookies, Stream, Fail):
    application.add_route(f"/{resource.__name__.lower()}", resource())
application.add_static_route("/files", str(STATIC))
