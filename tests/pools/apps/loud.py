def application(environ, start_response):
    print("printed by a request", flush=True)
    environ["wsgi.errors"].write("written to wsgi.errors\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
