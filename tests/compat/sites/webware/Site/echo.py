from HTTPServlet import HTTPServlet


class echo(HTTPServlet):
    def respondToPost(self, transaction):
        request = transaction.request()
        transaction.response().setHeader("Content-Type", request.environ()["CONTENT_TYPE"])
        # Webware has no file for an empty body.
        body = request.rawInput(rewind=True)
        transaction.response().write(body.read() if body else b"")

    respondToPut = respondToPost
