#!/usr/bin/env python3
"""Builds deploy/container/Containerfile and runs what it makes, as `make test-containers` does: needs root, podman and
buildah, and a Debian mirror and PyPI for the build.

Real: the Containerfile, the build, the container (crun: namespaces, seccomp, no capabilities, a file system that can't be
written to), the health check's command, signals, the volume that nginx and the application share. Stands in: Debian's Python and
nginx for the images of a registry, podman's `kube play` for a cluster, and, if `make dist` has made no wheel, one packed from target/release.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import yaml

from podman import Podman, in_a_mount_namespace, run, until
from wheel import pack

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASE, EXAMPLE, NGINX = "localhost/wsgi-fpm-base", "localhost/wsgi-fpm-example", "localhost/wsgi-fpm-nginx"
SOCKET = "/run/app/app.sock"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=os.path.join(TOP, ".cache", "containers"))
    parser.add_argument("--built", default=os.path.join(TOP, "target", "release"), help="where program and engine are")
    parser.add_argument("--keep-image", action="store_true", help="run the image of the last trial, build nothing")
    options = parser.parse_args()
    in_a_mount_namespace()
    podman = Podman(options.cache)
    try:
        if not (options.keep_image and podman.has(EXAMPLE) and podman.has(NGINX)):
            build(podman, options)
        alone(podman)
        stopped_gracefully(podman)
        behind_nginx(podman)
        as_kubernetes_has_it(podman)
    finally:
        podman.clean()


def said(what):
    print("ok: " + what, flush=True)


def build(podman, options):
    root = os.path.join(options.cache, "root")
    if not os.path.exists(os.path.join(root, "usr/bin/python3")):
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root)
    podman.adopt(root, BASE)
    certificates = ["-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    with tempfile.TemporaryDirectory() as context, tempfile.TemporaryDirectory() as wheels:
        made = glob.glob(os.path.join(TOP, "dist", "*.whl"))
        if made:
            shutil.copy(made[0], wheels)
        else:
            pack(glob.glob(options.built + "/wsgi-fpm") + glob.glob(options.built + "/libwsgi_fpm_engine.so"), wheels)
        with open(os.path.join(wheels, "pip.conf"), "w") as conf:
            conf.write("[global]\nfind-links = /wheels\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        shutil.copytree(os.path.join(TOP, "tests/containers/app"), context, dirs_exist_ok=True)
        deploy = os.path.join(TOP, "deploy/container")
        shutil.copy(deploy + "/Containerfile", context)
        shutil.copy(deploy + "/containerignore", context + "/.containerignore")
        with open(context + "/.env", "w") as secret:
            secret.write("SECRET=1\n")
        begin = time.monotonic()
        podman.build(context, context + "/Containerfile", EXAMPLE, "--build-arg", "BASE=" + BASE, "-v", wheels + ":/wheels:ro",
                     "-v", wheels + "/pip.conf:/etc/pip.conf:ro", *certificates)
        said("the Containerfile is built in %.0f s with %s" % (time.monotonic() - begin, "the wheel of dist/" if made else "a wheel packed for the trial"))
    if not podman.has(NGINX):
        here = os.path.join(TOP, "tests/containers")
        podman.build(here, here + "/nginx.Containerfile", NGINX, "--build-arg", "BASE=" + BASE, *certificates)


def ping(podman, name, *arguments):
    return podman("exec", name, "wsgi-fpm", "ping", SOCKET, *arguments, check=False)


def page(podman, name, path):
    return ping(podman, name, path, "--body").stdout


def ready(podman, name):
    until(lambda: ping(podman, name, "/").returncode == 0 or not podman.pid(name), "a first page: " + podman.logs(name))


def alone(podman):
    name = "wsgi-fpm-alone"
    podman("volume", "rm", "-f", "wsgi-fpm-alone", check=False)
    podman.start(name, EXAMPLE, "--network", "none", "-v", "wsgi-fpm-alone:/run/app")
    ready(podman, name)
    who = page(podman, name, "/who")
    assert who == "10001:10001\n", who
    said("the application runs as 10001:10001")
    writes = page(podman, name, "/writes").split()
    assert writes == ["/tmp", "/run/app"], writes
    said("of /app, /venv, /var/tmp, /tmp and /run/app it can write to the last two; a new volume has the image's owner")
    assert "SECRET" not in podman("exec", name, "sh", "-c", "cat /app/.env", check=False).stdout
    said("what .containerignore names is not in the image")
    done = podman("healthcheck", "run", name, check=False)
    assert done.returncode == 0, done
    said("the health check is content")
    for _ in range(5):
        assert page(podman, name, "/orphan") == "started\n"
    time.sleep(1)
    states = podman("exec", name, "sh", "-c", "cat /proc/[0-9]*/stat").stdout
    assert ") Z " not in states, states
    said("process 1 reaps what the application leaves")
    podman("exec", name, "sh", "-c", "rm " + SOCKET)
    done = podman("healthcheck", "run", name, check=False)
    assert done.returncode != 0, done
    said("the health check fails when nobody can connect")
    podman("stop", "-t", "35", name)
    assert podman.inspect(name)["State"]["ExitCode"] == 0, podman.logs(name)
    podman.remove(name)
    podman("volume", "rm", "-f", "wsgi-fpm-alone")


def stopped_gracefully(podman):
    name = "wsgi-fpm-stopped"
    podman.start(name, EXAMPLE, "--network", "none", "-v", "wsgi-fpm-alone:/run/app")
    ready(podman, name)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(page(podman, name, "/slow")))
    asking.start()
    time.sleep(1.5)
    begin = time.monotonic()
    podman("stop", "-t", "35", name)
    asking.join()
    state = podman.inspect(name)["State"]
    assert state["ExitCode"] == 0, (state, podman.logs(name))
    assert "finished" in answers[0], (answers, podman.logs(name))
    said("`podman stop` lets a running request finish, %.1f s, exit code 0" % (time.monotonic() - begin))


def behind_nginx(podman):
    """Two containers with one volume, as deploy/container/compose.yaml has them."""
    podman("volume", "rm", "-f", "wsgi-fpm-socket", check=False)
    podman("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=uid=10001,gid=10001,mode=2750", "wsgi-fpm-socket")
    app, web = "wsgi-fpm-app", "wsgi-fpm-web"
    podman.start(app, EXAMPLE, "--network", "none", "-v", "wsgi-fpm-socket:/run/app")
    ready(podman, app)
    conf = os.path.join(TOP, "deploy/container/nginx.conf")
    params = os.path.join(TOP, "nginx/wsgi_fpm_params")
    podman.start(web, NGINX, "--network", "none", "--user", "101:10001", "-v", "wsgi-fpm-socket:/run/app:ro", "-v",
                 conf + ":/etc/nginx/nginx.conf:ro", "-v", params + ":/etc/nginx/wsgi_fpm_params:ro")
    pid = str(podman.pid(web))

    def browse(path, seconds=10):
        return run("nsenter", "-t", pid, "-n", "curl", "-sS", "-m", str(seconds), "http://127.0.0.1:8080" + path, check=False)

    until(lambda: browse("/").stdout == "well\n", "a page through nginx: " + podman.logs(web) + podman.logs(app))
    said("nginx as 101:10001 and the application share the socket: " + podman("exec", app, "ls", "-l", SOCKET).stdout.strip())
    answers = []
    asking = threading.Thread(target=lambda: answers.append(browse("/slow").stdout))
    asking.start()
    time.sleep(1)
    # The order of compose.yaml and of the pod: nginx first, by SIGQUIT.
    podman("stop", "-t", "35", web)
    podman("stop", "-t", "35", app)
    asking.join()
    assert answers == ["finished\n"], (answers, podman.logs(web))
    codes = [podman.inspect(name)["State"]["ExitCode"] for name in (web, app)]
    assert codes == [0, 0], codes
    said("both stopped in turn while a page was made: it arrives, exit codes 0 and 0")
    podman("rm", "-f", app, web)
    podman("volume", "rm", "-f", "wsgi-fpm-socket")


def as_kubernetes_has_it(podman):
    """The Deployment of deploy/kubernetes/example.yaml by `podman kube play`.

    Changed for that: images; nginx's group and the socket's directory, since podman knows no fsGroup: they are what Kubernetes
    makes of it; the files of the ConfigMap, which podman lets nobody but root read; ports and their probes, since the pod has no
    network but its loopback.
    """
    with open(os.path.join(TOP, "deploy/kubernetes/example.yaml")) as file:
        documents = {document["kind"]: document for document in yaml.safe_load_all(file)}
    deployment = documents["Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    app, web = pod["containers"]
    for container, image in ((app, EXAMPLE), (web, NGINX)):
        podman("tag", image, image + ":1")
        container["image"] = image + ":1"
    web["securityContext"]["runAsGroup"] = 10001
    for key in ("ports", "livenessProbe", "readinessProbe"):
        del web[key]
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for name, text in documents["ConfigMap"]["data"].items():
            with open(os.path.join(directory, name), "w") as file:
                file.write(text)
        shared = os.path.join(directory, "socket")
        os.mkdir(shared)
        os.chown(shared, 0, 10001)
        os.chmod(shared, 0o2777)
        for volume in pod["volumes"]:
            name = volume["name"]
            if name in ("nginx", "socket"):
                volume.clear()
                volume.update(name=name, hostPath={"path": shared if name == "socket" else directory})
        manifest = os.path.join(directory, "manifest.yaml")
        with open(manifest, "w") as file:
            yaml.safe_dump(deployment, file)
        played(podman, manifest)


def played(podman, manifest):
    name = "example-pod-0"
    try:
        podman("kube", "play", "--network", "none", manifest)
        pid = str(podman.pid(name + "-nginx"))
        page = ["nsenter", "-t", pid, "-n", "curl", "-sS", "-m", "10", "http://127.0.0.1:8080/"]
        until(lambda: run(*page, check=False).stdout == "well\n", "a page of the pod: " + podman.logs(name + "-nginx")
              + podman.logs(name + "-app")[-2000:])
        said("podman plays the Deployment for Kubernetes, and its nginx gets a page")
        for container, words in (("app", "startupProbe"), ("app", "livenessProbe"), ("app", "readinessProbe")):
            podman("exec", name + "-" + container, *probe(manifest, words))
        said("the commands of its three probes are content")
    finally:
        podman("kube", "down", manifest, check=False)
        for volume in ("app-tmp", "nginx-tmp"):
            podman("volume", "rm", "-f", volume, check=False)


def probe(manifest, name):
    with open(manifest) as file:
        return yaml.safe_load(file)["spec"]["template"]["spec"]["containers"][0][name]["exec"]["command"]


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("trial.py: run as root: it makes file systems and namespaces")
    main()
