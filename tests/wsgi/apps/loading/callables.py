"""Applications that are not functions."""


class Instance(object):
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"instance"]

    def method(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"method"]


instance = Instance()
method = instance.method


def positional(*args, **kwargs):
    """How it was called."""
    environ, start_response = args
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["{} {}".format(len(args), len(kwargs)).encode()]
