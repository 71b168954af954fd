#!/usr/bin/env python3
"""How long it takes from a fresh Debian to the first page: runs the commands that README.md shows for each way of installing.

The clock starts in a Debian that has Python (python3, python3-venv), systemd, the lists of its packages, and nothing of ours
but the files of dist/ and an application, examples/hello, in /srv/example. It stops when the page is there. What apt has to
download is fetched before, by the same command, and that time is told apart. Systems run behind no network at all, so that nothing
else can be fetched.

Needs root, a Debian mirror, what `make dist` has made, and debootstrap, systemd-container and podman.
"""

import argparse
import contextlib
import glob
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests/containers"))
from podman import in_a_mount_namespace, run, until  # noqa: E402

WAYS = ("deb", "pip", "container")
PACKAGES = "python3,python3-venv,ca-certificates,systemd,systemd-sysv,dbus"
ENVIRONMENT = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
PAGE = "<h1>Hello, world!</h1>"


def commands(way):
    """Those that the README shows, each without the comment behind it."""
    with open(os.path.join(TOP, "README.md")) as file:
        block = re.search(r"<!-- first page: %s -->\s*```sh\n(.*?)```" % way, file.read(), re.DOTALL)
    return [re.sub(r"\s+#.*", "", line) for line in block[1].splitlines()]


def base(cache, suite):
    """The system that each way starts from, made once."""
    root = os.path.join(cache, suite)
    if not os.path.exists(root + ".made"):
        shutil.rmtree(root, ignore_errors=True)
        mirror = run("apt-get", "indextargets", "--format", "$(SITE)").stdout.split()[0]
        run("debootstrap", "--variant=minbase", "--include=" + PACKAGES, suite, root, mirror)
        with open(root + "/etc/apt/apt.conf.d/50first-page", "w") as conf:
            # Nobody is there to be asked, and a mirror may be a few days behind.
            conf.write('APT::Get::Assume-Yes "true";\nAcquire::Check-Valid-Until "false";\n')
        with open(root + "/usr/local/bin/sudo", "w") as sudo:
            sudo.write('#!/bin/sh\nexec "$@"\n')
        os.chmod(root + "/usr/local/bin/sudo", 0o755)
        shutil.copy("/etc/resolv.conf", root + "/etc/resolv.conf")
        offline(root, "apt-get -q update && apt-get clean")
        open(root + ".made", "w").close()
    return root


def offline(root, command):
    """Runs a command in a system that is not booted, with this machine's network."""
    run("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--directory", root, "--chdir=/root", *ENVIRONMENT, "sh", "-c", command)


def application(directory):
    os.makedirs(directory, exist_ok=True)
    shutil.copy(os.path.join(TOP, "examples/hello/app.py"), directory)
    open(os.path.join(directory, "requirements.txt"), "w").close()


@contextlib.contextmanager
def booted(root):
    """Its systemd runs, behind a network of its own. Gives what stands before a command that is to run there."""
    machine = subprocess.Popen(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--directory", root, "--boot"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        init = until(lambda: run("pgrep", "--parent", str(machine.pid), check=False).stdout.strip(), "a first process")
        inside = ["nsenter", "--all", "--target", init, *ENVIRONMENT]
        state = inside + ["systemctl", "is-system-running"]
        until(lambda: run(*state, check=False).stdout.strip() in ("running", "degraded"), "systemd is up", 60)
        yield inside
    finally:
        machine.terminate()
        machine.wait()


class Clock:
    """Times of one way, printed as they come."""

    def __init__(self, way):
        self.begin = time.monotonic()
        self.way = way

    def timed(self, what, call):
        """What `call` returns; its time is printed with `what`."""
        begin = time.monotonic()
        result = call()
        print("%7.1f s  %s" % (time.monotonic() - begin, what), flush=True)
        return result

    def end(self):
        print("%7.1f s  %s: all of it" % (time.monotonic() - self.begin, self.way), flush=True)


def ask(command):
    """The page, if it is there already."""
    return PAGE in run(*command, check=False).stdout


def in_a_system(way, cache, suite):
    scratch = tempfile.mkdtemp(prefix="first-page-", dir=cache)
    root = os.path.join(scratch, "root")
    try:
        run("cp", "-a", base(cache, suite), root)
        application(root + "/srv/example")
        os.makedirs(root + "/root/dist")
        for file in glob.glob(TOP + "/dist/*.deb") + glob.glob(TOP + "/dist/*.whl"):
            shutil.copy(file, root + "/root/dist")
        lines = commands(way)
        if way == "deb":
            begin = time.monotonic()
            offline(root, lines[0].replace(" install ", " install --download-only "))
            archives = glob.glob(root + "/var/cache/apt/archives/*.deb")
            size = sum(map(os.path.getsize, archives)) / 1e6
            print("%7.1f s  downloads, not counted: %d packages, %.1f MB" % (time.monotonic() - begin, len(archives), size))
        port = "8080" if way == "deb" else "8000"
        with booted(root) as inside:
            # This machine's curl in that one's network.
            page = ["nsenter", "--net", "--target", inside[3], "curl", "-sS", "-m", "5", "http://localhost:%s/" % port]
            clock = Clock(way)
            for line in lines:
                in_background = " dev " in line
                shell = [*inside, "sh", "-ec", "cd /root; " + line + (" >/root/log 2>&1 &" if in_background else "")]
                clock.timed(line, lambda: run(*shell))
            clock.timed("the page", lambda: until(lambda: ask(page), "a page"))
            clock.end()
    finally:
        shutil.rmtree(scratch)


def in_a_container(cache, suite):
    """Podman with a store of its own that has Debian's Python under the name of the image which the Containerfile takes."""
    scratch = tempfile.mkdtemp(prefix="first-page-", dir=cache)
    try:
        application(scratch + "/srv/example")
        # The commands name it, and it is not to be this machine's.
        run("mount", "--bind", scratch + "/srv", "/srv")
        with open(scratch + "/storage.conf", "w") as conf:
            conf.write('[storage]\ndriver = "overlay"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' % (scratch, scratch))
        with open(scratch + "/containers.conf", "w") as conf:
            # Cgroups as they are, limits that may be set here, and no network.
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            conf.write('[containers]\ncgroups = "disabled"\nnetns = "none"\ndefault_ulimits = ["nofile=%d:%d", "nproc=4096:4096"]\n' % (files, files))
        os.environ.update(CONTAINERS_STORAGE_CONF=scratch + "/storage.conf", CONTAINERS_CONF=scratch + "/containers.conf",
                          BUILDAH_ISOLATION="chroot")
        with open(os.path.join(TOP, "deploy/container/Containerfile")) as file:
            image = re.search(r"^ARG BASE=(.*)$", file.read(), re.MULTILINE)[1]
        with subprocess.Popen(["tar", "-C", base(cache, suite), "-c", "."], stdout=subprocess.PIPE) as packed:
            run("podman", "import", "-", image, stdin=packed.stdout)
        clock = Clock("container")
        *lines, page = commands("container")
        for line in lines:
            clock.timed(line, lambda: run("sh", "-ec", line, cwd=TOP))
        clock.timed(page, lambda: until(lambda: ask(shlex.split(page)), "a page"))
        clock.end()
    finally:
        run("podman", "rm", "-f", "-t", "0", "-a", check=False)
        run("umount", "/srv", check=False)
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="trixie", help="the Debian, whose Python is that of the container's image, too")
    parser.add_argument("--cache", default=os.path.join(TOP, ".cache", "first-page"))
    parser.add_argument("way", nargs="*", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("first_page.py: run as root: it makes file systems and namespaces")
    if not glob.glob(TOP + "/dist/*.deb"):
        sys.exit("first_page.py: dist/ has no deb: run make dist")
    in_a_mount_namespace()
    os.makedirs(options.cache, exist_ok=True)
    for way in options.way:
        if way == "container":
            in_a_container(options.cache, options.suite)
        else:
            in_a_system(way, options.cache, options.suite)


if __name__ == "__main__":
    main()
