#!/usr/bin/env python3
"""Measures servers side by side: behind one nginx, the same application, the same load, in turns, in one run.

For each: requests a second through nginx and processor time of the server's processes for a request (medians of the
rounds), and their memory (PSS); and what the first server has of each, divided by what this one has. Only such ratios
mean anything: two runs can't be compared. `make bench` runs the cases of the README.
"""
import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {
    "hello": "apps:hello", "big": "apps:big", "stream": "apps:stream", "echo": "apps:echo", "flask": "flask_app:app",
    "django": "django_app:app", "some-sleep": "apps:some_sleep", "some-compute": "apps:some_compute",
    "all-sleep": "apps:all_sleep",
}
ECHO_BYTES = 65536


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="SERVER",
                        help="uwsgi, uwsgi-fastcgi, granian, gunicorn; or NAME=PROGRAM for a build of wsgi-fpm over kept "
                             "connections, NAME=PROGRAM,new over a new one for each request")
    parser.add_argument("--venv", required=True, help="where the other servers and the frameworks are")
    parser.add_argument("--case", choices=CASES, default="hello")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    return parser.parse_args()


class Server:
    def __init__(self, spec, number, args, directory, more=()):
        """`more`: options that this one gets beside the usual ones."""
        self.name, _, build = spec.partition("=")
        self.socket = "%s/%d.sock" % (directory, number)
        self.log = "%s/%d.log" % (directory, number)
        self.port = None
        self.rates, self.times, self.memory, self.failed = [], [], 0, 0
        app, workers, threads = CASES[args.case], str(args.workers), str(args.threads)
        bin = os.path.join(os.path.abspath(args.venv), "bin", "")
        keeps, self.passes = "keepalive 64;", "fastcgi_keep_conn on; include fastcgi_params; fastcgi_pass u%d;" % number
        if build:
            new = build.endswith(",new")
            program = build[: -len(",new")] if new else build
            command = [os.path.abspath(program), "serve", app, "--listen", self.socket, "--workers", workers,
                       "--threads", threads, "--chdir", HERE, "--python", os.path.abspath(args.venv)]
            if new:
                keeps, self.passes = "", "include fastcgi_params; fastcgi_pass u%d;" % number
        elif self.name in ("uwsgi", "uwsgi-fastcgi"):
            option = "--uwsgi-socket" if self.name == "uwsgi" else "--fastcgi-socket"
            command = [bin + "uwsgi", option, self.socket, "--master", "--processes", workers, "--module", app,
                       "--pythonpath", HERE, "--disable-logging", "--listen", "1024", "--chmod-socket=666", "--die-on-term"]
            command += ["--threads", threads] if args.threads > 1 else []
            # It keeps no connection.
            keeps = ""
            self.passes = ("include uwsgi_params; uwsgi_pass u%d;" if self.name == "uwsgi" else
                           "include fastcgi_params; fastcgi_param PATH_INFO $document_uri; "
                           "fastcgi_param SCRIPT_NAME ''; fastcgi_pass u%d;") % number
        elif self.name in ("granian", "gunicorn"):
            command = {
                "granian": [bin + "granian", "--interface", "wsgi", "--uds", self.socket, "--workers", workers,
                            "--blocking-threads", threads, "--working-dir", HERE, "--no-log", app],
                "gunicorn": [bin + "gunicorn", "-b", "unix:" + self.socket, "-w", workers, "--chdir", HERE, app]
                            + (["-k", "gthread", "--threads", threads] if args.threads > 1 else []),
            }[self.name]
            self.passes = "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://u%d;" % number
        else:
            sys.exit("compare.py: %s: no such server" % spec)
        command += more
        self.upstream = "upstream u%d { server unix:%s; %s }" % (number, self.socket, keeps)
        with open(self.log, "w") as log:
            # Where keys collide depends on a random number of each process, which moves a request by up to 2 %.
            environment = dict(os.environ, PYTHONHASHSEED="0")
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=HERE, env=environment,
                                            start_new_session=True)

    def processes(self):
        return descendants(self.process.pid)

    def stop(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(3)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def descendants(pid):
    found = [pid]
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % other) as stat:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found += descendants(int(other))
        except OSError:
            pass
    return found


def processor_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as stat:
                total += sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            pass
    return total / os.sysconf("SC_CLK_TCK")


def pss_mib(pids):
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/smaps_rollup" % pid) as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except OSError:
            pass
    return total / 1024


def start_nginx(servers, directory):
    """One process, a port for each server. nginx would not tell which port it got for 0, so free ones are found first."""
    parts = []
    for server in servers:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server.port = free.getsockname()[1]
        parts.append("%s\nserver { listen 127.0.0.1:%d backlog=4096; location / { %s } }"
                     % (server.upstream, server.port, server.passes))
    shutil.copy("/etc/nginx/fastcgi_params", directory)
    shutil.copy("/etc/nginx/uwsgi_params", directory)
    temporary = " ".join("%s_temp_path %s/%s;" % (name, directory, name)
                         for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root; " if os.getuid() == 0 else ""
    path = directory + "/nginx.conf"
    with open(path, "w") as file:
        file.write("%sworker_processes 1; daemon off; pid %s/pid; error_log %s/error.log;\n"
                   "events { worker_connections 4096; }\nhttp { access_log off; client_max_body_size 1m; %s\n%s\n}\n"
                   % (user, directory, directory, temporary, "\n".join(parts)))
    return subprocess.Popen(["nginx", "-c", path])


def wait_until_it_answers(server):
    url = "http://127.0.0.1:%d/" % server.port
    for _ in range(200):
        curl = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, text=True)
        if curl.stdout == "200":
            return
        time.sleep(0.05)
    with open(server.log) as log:
        sys.exit("compare.py: %s does not answer: %s\n%s" % (server.name, curl.stdout, log.read()[-2000:]))


@contextlib.contextmanager
def running(specs, args, start=Server):
    """Servers behind one nginx, all of which answer. `start` takes what `Server` takes."""
    directory = tempfile.mkdtemp(prefix="compare-")
    # A server may run as another user.
    os.chmod(directory, 0o755)
    servers, nginx = [], None
    try:
        for number, spec in enumerate(specs):
            servers.append(start(spec, number, args, directory))
        nginx = start_nginx(servers, directory)
        for server in servers:
            wait_until_it_answers(server)
        yield servers
    finally:
        for server in servers:
            server.stop()
        if nginx:
            nginx.terminate()
            nginx.wait()
        shutil.rmtree(directory, ignore_errors=True)


def in_turns(servers, rounds):
    """Each server once a round, and not always in the same order."""
    for round in range(rounds):
        yield from servers if round % 2 == 0 else reversed(servers)


def load(server, connections, seconds, script):
    """What wrk says of that load. `script`: the text of its script; empty for GET requests and nothing more."""
    command = ["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "http://127.0.0.1:%d/" % server.port]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        command += ["-s", lua.name] if script else []
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def measure(server, args, script=""):
    """Adds what this round shows of the server. Gives what wrk says, for what else stands there."""
    pids = server.processes()
    before = processor_seconds(pids)
    wrk = load(server, args.connections, args.seconds, script)
    used = processor_seconds(pids) - before
    requests = int(re.search(r"(\d+) requests in", wrk).group(1))
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", wrk)
    server.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", wrk).group(1)))
    server.times.append(1e6 * used / max(requests, 1))
    server.failed += int(failed.group(1)) if failed else 0
    server.memory = pss_mib(server.processes())
    return wrk


def main():
    args = options()
    post = 'wrk.method = "POST"; wrk.body = string.rep("z", %d)' % ECHO_BYTES
    with running(args.servers, args) as servers:
        for server in in_turns(servers, args.rounds):
            measure(server, args, post if args.case == "echo" else "")
        print("%s, %d x %d, %d connections" % (args.case, args.workers, args.threads, args.connections))
        first = servers[0]
        for server in servers:
            rate, used = statistics.median(server.rates), statistics.median(server.times)
            print("  %-14s %8.0f requests/s  %8.1f us  %6.1f MiB   first/this: %.2f %.2f %.2f%s" % (
                server.name, rate, used, server.memory, statistics.median(first.rates) / rate,
                statistics.median(first.times) / max(used, 0.01), first.memory / max(server.memory, 0.01),
                "   %d FAILED" % server.failed if server.failed else ""), flush=True)


if __name__ == "__main__":
    main()
