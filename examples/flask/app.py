"""A Flask application: a form, a session, flashed messages, a JSON route and an upload that is echoed.

It keeps nothing in the process: notes live in the session cookie, so any worker can answer any request.
"""

import hashlib
import os

from flask import Flask, flash, jsonify, redirect, render_template, request, session, url_for

MOST_NOTES = 10
LONGEST_NOTE = 200

app = Flask(__name__)
# All workers have to sign cookies with the same key, and a restart should not log everybody out.
app.secret_key = os.environ.get("FLASK_SECRET_KEY", "only for trying the example")
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024 * 1024


@app.get("/")
def index():
    return render_template("index.html", notes=session.get("notes", []), longest=LONGEST_NOTE)


@app.post("/notes")
def add_note():
    text = request.form.get("text", "").strip()
    if not text:
        flash("A note needs some text.")
    elif len(text) > LONGEST_NOTE:
        flash(f"A note has at most {LONGEST_NOTE} characters.")
    else:
        # The newest stay: a cookie has room for about four kilobytes.
        session["notes"] = [*session.get("notes", []), text][-MOST_NOTES:]
        flash("Noted.")
    return redirect(url_for("index"), code=303)


@app.post("/notes/clear")
def clear_notes():
    session.pop("notes", None)
    flash("All notes are gone.")
    return redirect(url_for("index"), code=303)


@app.get("/api/notes")
def list_notes():
    return jsonify(notes=session.get("notes", []))


@app.post("/upload")
def upload():
    """What arrived: read in blocks, so that a large file needs no large memory."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return jsonify(error="choose a file first"), 400
    digest, size = hashlib.sha256(), 0
    while block := file.stream.read(64 * 1024):
        digest.update(block)
        size += len(block)
    return jsonify(name=file.filename, type=file.mimetype, size=size, sha256=digest.hexdigest())


@app.post("/echo")
def echo():
    """The uploaded file as it came, or the body of any other request."""
    file = request.files.get("file")
    if file is None:
        return request.get_data(), 200, {"Content-Type": "application/octet-stream"}
    return file.stream.read(), 200, {"Content-Type": "application/octet-stream"}
