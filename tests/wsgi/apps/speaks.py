"""Prints in every way that is hard on a log."""
import os
import sys
import threading
import traceback

BARRIER = threading.Barrier(2)


def prints(environ):
    print("out", environ["QUERY_STRING"])
    print("err", environ["QUERY_STRING"], file=sys.stderr)
    environ["wsgi.errors"].write("errors %s\n" % environ["QUERY_STRING"])


def long_line(environ):
    print("x" * int(environ["QUERY_STRING"]))
    environ["wsgi.errors"].write("y" * int(environ["QUERY_STRING"]) + "\n")


def no_newline(environ):
    sys.stdout.write("n" * 1000000)


def invalid(environ):
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bytes \xff\xfe\x1b[31m\x00 end\n")
    sys.stdout.buffer.flush()
    print("surrogate \udcff \x1b[31m\x07 end")


def together(environ):
    """Two requests that print at the same time, a word at a time."""
    BARRIER.wait(20)
    for number in range(200):
        print(environ["QUERY_STRING"], end="")
        print(" " + environ["QUERY_STRING"], end="")
        print()


def fails(environ):
    try:
        raise ValueError("on purpose")
    except ValueError:
        traceback.print_exc()
        traceback.print_exc(file=environ["wsgi.errors"])
        os.write(2, traceback.format_exc().encode())


def unended(environ):
    """As a process that hangs in the middle."""
    os.write(2, b"Traceback (most recent call last):\n  File \"hangs\", line 1\n")


def later(environ):
    def run():
        environ["wsgi.errors"].write("later in errors\n")
        print("later")
    timer = threading.Timer(0.3, run)
    timer.start()


def flood(environ):
    for number in range(int(environ["QUERY_STRING"])):
        print("flood", number)


def streams(environ):
    import io
    import subprocess
    assert isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
    assert sys.stdout is sys.__stdout__ and sys.stdout.mode == "w" and not sys.stdout.isatty()
    print("a", "b", sep="-", end="!\n", flush=True)
    print("begun", end="", flush=True)
    sys.stdout.writelines(["one\n", "two\n"])
    subprocess.run(["echo", "of a child"], stdout=sys.stdout, check=True)
    if os.fork() == 0:
        print("of a fork")
        os._exit(0)
    os.wait()


def application(environ, start_response):
    globals()[environ["PATH_INFO"].strip("/")](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
