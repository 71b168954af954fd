"""licences.py TARGET: prints what is inside the program besides our own source, with licences and their texts.

Those are the crates that are linked into program and engine on this target, and Rust's own library. A crate without a licence, or
with one that nobody has allowed here, is an error: a release may not contain it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "Unicode-3.0",
    "Unlicense", "Zlib",
}
TEXTS = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def allows(expression):
    """Whether an SPDX expression can be met with what is allowed."""
    parts = re.split(r"\s*(\(|\)|\bAND\b|\bOR\b|/)\s*", expression)
    names = {"(": "(", ")": ")", "AND": "and", "OR": "or", "/": "or"}
    words = [names.get(part, str(part.strip() in ALLOWED)) for part in parts if part.strip()]
    return eval(" ".join(words), {"__builtins__": {}})


def linked(said):
    """The packages that are linked into program or engine, by name and version."""
    packages = {package["id"]: package for package in said["packages"]}
    nodes = {node["id"]: node for node in said["resolve"]["nodes"]}
    waiting = [identity for identity in nodes if packages[identity]["name"] in ("wsgi-fpm", "engine")]
    found = set()
    while waiting:
        identity = waiting.pop()
        if identity in found:
            continue
        found.add(identity)
        for dependency in nodes[identity]["deps"]:
            # Neither what builds nor what tests.
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    others = [packages[identity] for identity in found if packages[identity]["source"] is not None]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def main(target):
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    crates = linked(said)
    refused = []
    texts = {}
    print("What is inside wsgi-fpm besides its own source, with licences; their texts follow.\n")
    print("Rust's standard library: MIT OR Apache-2.0, https://www.rust-lang.org/policies/licenses")
    for crate in crates:
        name = "%s %s" % (crate["name"], crate["version"])
        licence = crate["license"]
        if licence is None or not allows(licence):
            refused.append("%s: %s" % (name, licence or "no licence"))
        print("%s: %s%s" % (name, licence, ", " + crate["repository"] if crate["repository"] else ""))
        for path in sorted(Path(crate["manifest_path"]).parent.iterdir()):
            if path.is_file() and TEXTS.match(path.name):
                text = path.read_text("utf-8", "replace").replace("\r\n", "\n").strip()
                texts.setdefault(text, []).append(name)
    if refused:
        sys.exit("wsgi-fpm: a release may not contain these; see ALLOWED in scripts/licences.py:\n" + "\n".join(refused))
    for text, names in texts.items():
        print("\n%s\n%s\n\n%s" % ("=" * 100, ", ".join(names), text))


if __name__ == "__main__":
    main(sys.argv[1])
