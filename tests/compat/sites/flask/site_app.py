"""The compatibility site on Flask and Jinja. The other sites beside it answer the same requests."""

import hashlib

from flask import (
    Flask,
    Response,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)

app = Flask(__name__, static_url_path="/files")
app.secret_key = "for tests alone"
application = app


@app.get("/")
def index():
    return render_template("index.html", name=request.args.get("name", "world"))


@app.get("/greet/<name>")
def greet(name):
    return Response(f"Hello, {name}!", content_type="text/plain; charset=utf-8")


@app.get("/old")
def old():
    return redirect(url_for("index"))


@app.get("/where")
def where():
    return Response(request.url, content_type="text/plain")


@app.route("/notes", methods=["GET", "POST"])
def notes():
    if request.method == "POST":
        session["notes"] = session.get("notes", []) + [request.form["text"]]
        return redirect(url_for("notes"), code=303)
    return jsonify(session.get("notes", []))


@app.post("/upload")
def upload():
    file = request.files["file"]
    content = file.read()
    return jsonify(
        title=request.form["title"],
        name=file.filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@app.route("/echo", methods=["POST", "PUT"])
def echo():
    return Response(request.get_data(), content_type=request.content_type)


@app.get("/cookies")
def cookies():
    response = Response(status=204)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/stream")
def stream():
    pieces = (f"piece {number}\n" for number in range(1, 6))
    return Response(pieces, content_type="text/plain", headers={"X-Accel-Buffering": "no"})


@app.get("/fail")
def fail():
    raise RuntimeError("failed on purpose")
