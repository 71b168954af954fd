from HTTPServlet import HTTPServlet


class fail(HTTPServlet):
    def respondToGet(self, transaction):
        raise RuntimeError("failed on purpose")
