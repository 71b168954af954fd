"""A WSGI application without dependencies: a greeting, what the web server said, and a streamed page."""

import html
import time
from urllib.parse import parse_qs

STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5c6675;--line:#d9dee6;--paper:#fff;--accent:#2457a6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#9aa4b2;--line:#333b47;--paper:#161a20;--accent:#8ab4f8}}
body{margin:0 auto;max-width:44rem;padding:2.5rem 1.25rem;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}a{color:var(--accent)}.dim{color:var(--dim)}
table{border-collapse:collapse;width:100%}th,td{padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}th{font-weight:600}
label{display:block;margin:.75rem 0}input[type=text],textarea{display:block;box-sizing:border-box;width:100%;padding:.4rem .5rem;border:1px solid var(--line);border-radius:4px;background:transparent;color:inherit;font:inherit}
button{padding:.4rem 1rem;border:0;border-radius:4px;background:var(--accent);color:var(--paper);font:inherit;cursor:pointer}
.message{padding:.5rem .75rem;border-left:3px solid var(--accent);background:color-mix(in srgb,var(--accent) 10%,transparent)}
"""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Hello</title>
<meta name="viewport" content="width=device-width"><style>{style}</style>
<h1>Hello, {name}!</h1>
<p class="dim">Served by wsgi-fpm. <a href="{root}/stream">See a page that comes in pieces.</a></p>
<form><label>Your name <input type="text" name="name"></label><button>Say hello</button></form>
<h2>What the application was told</h2>
<table>{rows}</table>
"""

SHOWN = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "wsgi.url_scheme",
    "wsgi.multithread",
    "wsgi.multiprocess",
)


def application(environ, start_response):
    path = environ.get("PATH_INFO", "")
    if path in ("", "/"):
        return greeting(environ, start_response)
    if path == "/stream":
        return stream(start_response)
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"There is only / and /stream.\n"]


def greeting(environ, start_response):
    # WSGI gives the bytes of a request as latin-1 text; browsers mean UTF-8. parse_qs decodes %XX as UTF-8 itself.
    name = parse_qs(environ.get("QUERY_STRING", "")).get("name", ["world"])[0]
    rows = "".join(
        f"<tr><th>{key}</th><td>{html.escape(readable(environ[key]))}</td></tr>" for key in SHOWN if key in environ
    )
    root = html.escape(readable(environ.get("SCRIPT_NAME", "")))
    page = PAGE.format(style=STYLE, name=html.escape(name), root=root, rows=rows)
    body = page.encode("utf-8", "replace")
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def stream(start_response):
    # Each piece is on its way before the next one is made. nginx would collect them; X-Accel-Buffering tells it not to.
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Accel-Buffering", "no")]
    start_response("200 OK", headers)
    for number in range(1, 11):
        yield f"piece {number} of 10, {time.strftime('%H:%M:%S')}\n".encode()
        time.sleep(0.3)


def readable(value):
    return value.encode("latin-1").decode("utf-8", "replace") if isinstance(value, str) else str(value)
