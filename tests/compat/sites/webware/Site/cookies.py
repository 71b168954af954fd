from HTTPServlet import HTTPServlet


class cookies(HTTPServlet):
    def respondToGet(self, transaction):
        response = transaction.response()
        response.setCookie("first", "1")
        response.setCookie("second", "2")
        response.setStatus(204, "No Content")
