"""Podman with a store of its own, on machines that are themselves small: no systemd, no image registry, cgroups as they are."""

import json
import os
import resource
import subprocess
import sys
import time


def run(*command, check=True, **options):
    """Runs a command and returns its output; with `check` a failure ends the trial with what it has said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900, **options)
    if check and done.returncode != 0:
        raise SystemExit("%s\nfailed with %d:\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr))
    return done


def until(condition, what, seconds=30):
    """Waits until `condition()` is true and returns what it has returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise SystemExit("after %d s still not: %s" % (seconds, what))


def in_a_mount_namespace():
    """A machine with cgroups of both versions is nothing that crun knows: hide the second one, from us alone."""
    if os.environ.get("TRIAL_MOUNTS") != "own":
        os.environ["TRIAL_MOUNTS"] = "own"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    if os.path.ismount("/sys/fs/cgroup/unified"):
        run("umount", "/sys/fs/cgroup/unified")


class Podman:
    """One store below `directory`; containers that were started are removed by `clean`."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.store = ["--root", os.path.join(directory, "storage"), "--runroot", os.path.join(directory, "run"),
                      "--storage-driver", "vfs"]
        self.started = []
        # For what `kube play` starts, which has no options for it: limits that the trial itself may set.
        self.conf = os.path.join(directory, "containers.conf")
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with open(self.conf, "w") as conf:
            conf.write('[containers]\ndefault_ulimits = ["nofile=%d:%d", "nproc=4096:4096"]\n' % (files, files))

    def __call__(self, *arguments, check=True):
        return run("podman", *self.store, *arguments, check=check, env=dict(os.environ, CONTAINERS_CONF=self.conf))

    def has(self, image):
        return self("image", "exists", image, check=False).returncode == 0

    def adopt(self, root, image):
        """Makes an image from a directory."""
        if not self.has(image):
            packed = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
            run("podman", *self.store, "import", "-", image, stdin=packed.stdout)
            packed.wait()

    def build(self, context, file, image, *options):
        # Processes of the build are in a chroot only: that needs no more than root.
        run("buildah", *self.store, "bud", "--isolation", "chroot", "--format", "docker", "-f", file, "-t", image, *options,
            context)

    def start(self, name, image, *options, command=()):
        """Starts a container as docs/containers.md says: nothing to write to, no capabilities, no new privileges."""
        self.remove(name)
        self.started.append(name)
        # Cgroups are those of the trial itself; without systemd nobody calls the health check at intervals.
        self("run", "-d", "--name", name, "--cgroups=disabled", "--health-interval=disable", "--read-only", "--read-only-tmpfs=false",
             "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges", *options, image, *command)

    def remove(self, name):
        self("rm", "-f", "-t", "2", name, check=False)

    def inspect(self, name):
        return json.loads(self("inspect", name).stdout)[0]

    def pid(self, name):
        return self.inspect(name)["State"]["Pid"]

    def logs(self, name):
        done = self("logs", name, check=False)
        return done.stdout + done.stderr

    def clean(self):
        for name in reversed(self.started):
            self.remove(name)
