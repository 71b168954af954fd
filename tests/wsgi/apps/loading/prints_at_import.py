import os
import sys

print("printed at import")
print("complained at import", file=sys.stderr)
os.write(1, b"descriptor 1 at import\n")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"quiet"]
