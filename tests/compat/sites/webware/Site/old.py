from HTTPServlet import HTTPServlet


class old(HTTPServlet):
    def respondToGet(self, transaction):
        transaction.response().sendRedirect(transaction.request().servletPath() + "/")
