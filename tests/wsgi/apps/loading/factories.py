"""`module:create()` is called once a worker and gives the application."""

calls = []


def create():
    calls.append(1)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["created {} times".format(len(calls)).encode()]

    return application


def fails():
    raise RuntimeError("the factory is broken")


def gives_nothing():
    return None
