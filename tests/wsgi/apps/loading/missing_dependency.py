import a_module_that_nobody_has  # noqa: F401


def application(environ, start_response):
    start_response("200 OK", [])
    return []
