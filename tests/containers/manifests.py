#!/usr/bin/env python3
"""Checks deploy/kubernetes against the schemas of Kubernetes, which the package kubernetes-validate has, strictly: a word that no
schema knows is a mistake, too. Then what schemas can't say: that the files in the ConfigMap are the project's own, that a pod has
time to stop, and that probes give up later than the `wsgi-fpm ping` that they call. And docs/scaling.md shows what was measured.
"""

import os
import re
import sys
import textwrap

import kubernetes_validate
import yaml

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(TOP, "deploy/kubernetes")
# The oldest that the manifests say they need, one between, and the newest of the package.
VERSIONS = ["1.27", "1.31", kubernetes_validate.latest_version()]
PING_TIMEOUT = 5
KINDS = {
    "example.yaml": ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap"],
    "tcp.yaml": ["Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"],
}


def seconds(words, option):
    return int(words[words.index(option) + 1].rstrip("s"))


def judge_deployment(name, deployment):
    pod = deployment["spec"]["template"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels, name
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
    ends = []
    for container in pod["containers"]:
        about = "%s, %s" % (name, container["name"])
        closed = container["securityContext"]
        assert closed["readOnlyRootFilesystem"] is True and closed["allowPrivilegeEscalation"] is False, about
        assert closed["capabilities"] == {"drop": ["ALL"]}, about
        assert closed.get("runAsUser", pod["securityContext"].get("runAsUser", 0)) > 0, about
        assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"], about
        ends.append(int(container["lifecycle"]["preStop"]["exec"]["command"][1]))
        words = container.get("args", container.get("command", []))
        if "--stop-timeout" in words:
            stop = ends[-1] + seconds(words, "--stop-timeout")
            assert pod["terminationGracePeriodSeconds"] > stop, about
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["exec"]["command"][:2] == ["wsgi-fpm", "ping"], (about, probe)
                assert container[probe]["timeoutSeconds"] > PING_TIMEOUT, (about, probe)
            app = ends[-1]
    # What nginx has taken needs the application: that one stops last.
    assert app == max(ends), name


def judge_disruptions(name, documents):
    """The budget and the autoscaler are about the Deployment beside them."""
    by_kind = {document["kind"]: document for document in documents}
    labels = by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels, name
    assert by_kind["Service"]["spec"]["selector"] == labels, name
    scaler = by_kind.get("HorizontalPodAutoscaler")
    if scaler:
        assert scaler["spec"]["scaleTargetRef"]["name"] == by_kind["Deployment"]["metadata"]["name"], name
        # One that goes must leave one.
        assert scaler["spec"]["minReplicas"] > 1 and "replicas" not in by_kind["Deployment"]["spec"], name


def judge_page():
    """What docs/scaling.md shows is what benches/two_hosts runs with."""
    page = read("docs/scaling.md")
    for file, part in (("nginx.conf", "upstream"), ("nginx.conf", "location"), ("haproxy.cfg", "backend")):
        inside = re.search(r"# \[%s\]\n(.*?)\n *# \[/%s\]" % (part, part), read("benches/two_hosts/" + file), re.DOTALL)
        assert textwrap.dedent(inside[1]) in page, "docs/scaling.md does not show [%s] of benches/two_hosts/%s" % (part, file)


def read(path):
    with open(os.path.join(TOP, path)) as file:
        return file.read()


def main():
    checked = 0
    for name, kinds in KINDS.items():
        documents = list(yaml.safe_load_all(read("deploy/kubernetes/" + name)))
        assert [document["kind"] for document in documents] == kinds, name
        for document in documents:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
                checked += 1
        judge_deployment(name, documents[0])
        judge_disruptions(name, documents)
        for document in documents:
            for file, text in document.get("data", {}).items():
                own = "nginx/" if file == "wsgi_fpm_params" else "deploy/container/"
                assert text == read(own + file), "%s: %s is not %s%s" % (name, file, own, file)
    assert sorted(os.listdir(FOLDER)) == sorted(KINDS), "a manifest that nobody checks"
    judge_page()
    # The same default as in the program.
    assert re.search(r"`--timeout TIME` \| `%ds`" % PING_TIMEOUT, read("docs/ping.md")), "docs/ping.md has another --timeout"
    print("ok: %d manifests against the schemas of Kubernetes %s" % (checked // len(VERSIONS), ", ".join(VERSIONS)))


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, kubernetes_validate.ValidationError) as error:
        sys.exit("manifests.py: %s" % error)
