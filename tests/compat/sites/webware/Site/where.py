from HTTPServlet import HTTPServlet


class where(HTTPServlet):
    def respondToGet(self, transaction):
        request = transaction.request()
        transaction.response().setHeader("Content-Type", "text/plain")
        transaction.response().write(f"{request.serverURL()}?{request.queryString()}")
