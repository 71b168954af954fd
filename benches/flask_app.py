"""The smallest page of Flask."""

import flask

app = flask.Flask(__name__)


@app.get("/")
def page():
    return "Hello, world!"
