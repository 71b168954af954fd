import hashlib
import json

from HTTPServlet import HTTPServlet


class upload(HTTPServlet):
    def respondToPost(self, transaction):
        file = transaction.request().field("file")
        content = file.file.read()
        answer = {
            "title": transaction.request().field("title"),
            "name": file.filename,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        transaction.response().setHeader("Content-Type", "application/json")
        transaction.response().write(json.dumps(answer))
