from HTTPServlet import HTTPServlet


class stream(HTTPServlet):
    def respondToGet(self, transaction):
        response = transaction.response()
        response.setHeader("Content-Type", "text/plain")
        response.setHeader("X-Accel-Buffering", "no")
        for number in range(1, 6):
            response.write(f"piece {number}\n")
            response.flush()
