"""A front and two hosts as network namespaces on one switch, and what may happen to one of the hosts.

The switch is a bridge in a namespace of its own: taking a port of it down is what a failed switch or a machine without power
looks like, since nobody else's link is down then. Nothing of it touches the machine's own network.
"""

import os
import signal
import subprocess
import time

ADDRESSES = {"front": "198.18.0.1", "a": "198.18.0.2", "b": "198.18.0.3"}


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Network:
    """The namespaces; `close` removes them, and with them all interfaces."""

    def __init__(self):
        self.prefix = "two-hosts-%d-" % os.getpid()
        self.made = []
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        for name in ("switch", *ADDRESSES):
            run("ip", "netns", "add", self.prefix + name)
            self.made.append(name)
            self.ip(name, "link", "set", "lo", "up")
        self.ip("switch", "link", "add", "bridge", "type", "bridge")
        self.ip("switch", "link", "set", "bridge", "up")
        for name, address in ADDRESSES.items():
            self.ip("switch", "link", "add", "port-" + name, "type", "veth", "peer", "name", "eth0", "netns", self.prefix + name)
            self.ip("switch", "link", "set", "port-" + name, "master", "bridge", "up")
            self.ip(name, "address", "add", address + "/24", "dev", "eth0")
            self.ip(name, "link", "set", "eth0", "up")

    def ip(self, name, *words):
        run("ip", "-n", self.prefix + name, *words)

    def inside(self, name, *command):
        return ["ip", "netns", "exec", self.prefix + name, *command]

    def plug(self, name, state):
        """Plugs a host's cable into the switch, "up", or pulls it, "down"."""
        self.ip("switch", "link", "set", "port-" + name, state)

    def kernel(self, name, settings):
        for key, value in settings.items():
            path = "/proc/sys/" + key.replace(".", "/")
            run(*self.inside(name, "sh", "-c", "echo %s >%s" % (value, path)))

    def processes(self, name):
        """The ids of all processes in a namespace: nobody's but ours are there."""
        listed = subprocess.run(["ip", "netns", "pids", self.prefix + name], stdout=subprocess.PIPE, text=True).stdout
        return [int(pid) for pid in listed.split()]

    def kill(self, name):
        # Twice, for what was being started the first time.
        for _ in range(2):
            for pid in self.processes(name):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def close(self):
        for name in reversed(self.made):
            self.kill(name)
        for name in reversed(self.made):
            subprocess.run(["ip", "netns", "del", self.prefix + name])


class Host:
    """wsgi-fpm on one of the hosts."""

    def __init__(self, network, name, program, directory):
        self.network, self.name = network, name
        self.log = os.path.join(directory, name + ".log")
        here = os.path.dirname(os.path.abspath(__file__))
        environment = dict(os.environ, FCGI_WEB_SERVER_ADDRS=ADDRESSES["front"], HOST_NAME=name, SEEN=os.path.join(directory, "seen"))
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                network.inside(name, program, "serve", os.path.join(here, "app.py"), "--listen", ADDRESSES[name] + ":9000", "--workers",
                               "2", "--threads", "8"), stdout=log, stderr=log, env=environment)

    def wait_until_ready(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with open(self.log) as log:
                if " ready" in log.read():
                    return
            time.sleep(0.05)
        with open(self.log) as log:
            raise SystemExit("two_hosts: host %s does not get ready:\n%s" % (self.name, log.read()))
