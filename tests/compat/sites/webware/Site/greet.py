from HTTPServlet import HTTPServlet


class greet(HTTPServlet):
    def respondToGet(self, transaction):
        # Webware leaves PATH_INFO as WSGI has it: bytes as latin-1.
        name = transaction.request().extraURLPath().strip("/").encode("latin-1").decode()
        response = transaction.response()
        response.setHeader("Content-Type", "text/plain; charset=utf-8")
        response.write(f"Hello, {name}!")
