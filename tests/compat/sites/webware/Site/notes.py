import json

from HTTPServlet import HTTPServlet


class notes(HTTPServlet):
    def respondToGet(self, transaction):
        transaction.response().setHeader("Content-Type", "application/json")
        transaction.response().write(json.dumps(transaction.session().value("notes", [])))

    def respondToPost(self, transaction):
        session = transaction.session()
        session.setValue("notes", [*session.value("notes", []), transaction.request().field("text")])
        transaction.response().sendRedirectSeeOther(transaction.request().servletPath() + "/notes")
