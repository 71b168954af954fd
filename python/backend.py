"""Makes the wheel and the sdist: for pip as the build backend of pyproject.toml (PEP 517), for scripts/dist.sh as a command.

A wheel of ours is two files that cargo has made and a few lines of text. The tools that make wheels of Rust programs build the
program themselves: neither would they take the bytes of the tarball, nor do they know of an engine that has to be built before.
"""

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LICENCES = ["LICENSE-APACHE", "LICENSE-MIT"]
CLASSIFIERS = [
    "Development Status :: 4 - Beta",
    "Environment :: No Input/Output (Daemon)",
    "Intended Audience :: System Administrators",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: Implementation :: CPython",
    "Programming Language :: Rust",
    "Topic :: Internet :: WWW/HTTP :: WSGI :: Server",
]


def fail(why):
    sys.exit("wsgi-fpm: " + why)


def output(*command):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def project():
    """What Cargo.toml says of the program, and where cargo puts what it builds."""
    if shutil.which("cargo") is None:
        fail("cargo is missing: install Rust from https://rustup.rs and open a new shell")
    said = json.loads(output("cargo", "metadata", "--format-version=1", "--no-deps", "--locked"))
    package = next(package for package in said["packages"] if package["name"] == "wsgi-fpm")
    return package, Path(said["target_directory"])


def epoch():
    """The time of everything in an archive, in seconds: the oldest that a zip file can hold, unless somebody has said one."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))


def metadata(package):
    repository = package["repository"]
    # Links of the first page lead to other pages of the source.
    readme = re.sub(r"\]\((?![a-z]+:|#)", "](%s/blob/main/" % repository, (ROOT / "README.md").read_text("utf-8"))
    lines = [
        "Metadata-Version: 2.4",
        "Name: wsgi-fpm",
        "Version: " + package["version"],
        "Summary: " + package["description"],
        "License-Expression: " + package["license"],
        *("License-File: " + name for name in LICENCES),
        "Project-URL: Source, " + repository,
        "Requires-Python: >=3.9",
        *("Classifier: " + classifier for classifier in CLASSIFIERS),
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + readme


def write_wheel(folder, package, platform, program, engine, licences=()):
    """Its name. `licences` are files besides our own; `engine` has the name that the program looks for."""
    distribution = "wsgi_fpm-" + package["version"]
    info = distribution + ".dist-info/"
    data = distribution + ".data/"
    tag = "py3-none-" + platform
    files = [
        ("wsgi_fpm/__init__.py", (ROOT / "python/wsgi_fpm/__init__.py").read_bytes(), 0o644),
        ("wsgi_fpm/metrics.py", (ROOT / "python/wsgi_fpm/metrics.py").read_bytes(), 0o644),
        ("wsgi_fpm/__main__.py", (ROOT / "python/wsgi_fpm/__main__.py").read_bytes(), 0o644),
        (data + "scripts/wsgi-fpm", program.read_bytes(), 0o755),
        (data + "data/lib/wsgi-fpm/" + engine.name, engine.read_bytes(), 0o644),
        *((info + "licenses/" + path.name, path.read_bytes(), 0o644)
          for path in [*(ROOT / name for name in LICENCES), *licences]),
        (info + "METADATA", metadata(package).encode(), 0o644),
        (info + "WHEEL", ("Wheel-Version: 1.0\nGenerator: wsgi-fpm\nRoot-Is-Purelib: false\nTag: %s\n" % tag).encode(), 0o644),
    ]
    record = ""
    for name, content, _ in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        record += "%s,sha256=%s,%d\n" % (name, digest, len(content))
    record += info + "RECORD,,\n"
    files.append((info + "RECORD", record.encode(), 0o644))
    wheel = "%s-%s.whl" % (distribution, tag)
    with zipfile.ZipFile(Path(folder) / wheel, "w") as archive:
        for name, content, mode in files:
            entry = zipfile.ZipInfo(name, time.gmtime(epoch())[:6])
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return wheel


def write_sdist(folder, package):
    """Its name. It has what git has, so a clone is needed, and whatever is not committed yet of those files."""
    try:
        names = sorted(output("git", "ls-files", "-z").decode().rstrip("\0").split("\0"))
    except (OSError, subprocess.CalledProcessError):
        fail("this is no clone: only git knows what belongs to the source")
    distribution = "wsgi_fpm-" + package["version"]
    sdist = distribution + ".tar.gz"

    def alike(entry):
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        entry.mtime = epoch()
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with open(Path(folder) / sdist, "wb") as file, \
            gzip.GzipFile("", "wb", 9, file, epoch()) as packed, \
            tarfile.open(None, "w", packed, format=tarfile.PAX_FORMAT) as archive:
        said = metadata(package).encode()
        entry = tarfile.TarInfo(distribution + "/PKG-INFO")
        entry.size = len(said)
        archive.addfile(alike(entry), io.BytesIO(said))
        for name in names:
            archive.add(ROOT / name, distribution + "/" + name, False, filter=alike)
    return sdist


def build_sdist(sdist_directory, config_settings=None):
    package, _ = project()
    return write_sdist(sdist_directory, package)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds the engine, and the program with that inside, for this machine."""
    package, target = project()

    def build(*arguments, **variables):
        variables = dict(os.environ, CARGO_PROFILE_DIST_STRIP="symbols", **variables)
        command = ["cargo", "build", "--locked", "--profile", "dist", *arguments]
        subprocess.run(command, cwd=ROOT, env=variables, check=True)

    build("--package", "engine")
    built = target / "dist/libwsgi_fpm_engine.so"
    identity = hashlib.sha256(built.read_bytes()).hexdigest()[:40]
    engine = built.with_name("engine-%s.so" % identity)
    shutil.copyfile(built, engine)
    build("--package", "wsgi-fpm", "--features", "embedded-engine",
          WSGI_FPM_EMBED_ENGINE=str(engine), WSGI_FPM_EMBED_ENGINE_ID=identity)
    platform = re.sub("[-.]", "_", sysconfig.get_platform())
    return write_wheel(wheel_directory, package, platform, target / "dist/wsgi-fpm", engine)


def main():
    parser = argparse.ArgumentParser(description="Writes the wheel of a program that is built already, or the sdist.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--platform", help="that of the wheel's tag; without it the sdist is written")
    parser.add_argument("--program", type=Path)
    parser.add_argument("--engine", type=Path)
    parser.add_argument("--licences", type=Path, nargs="*", default=())
    said = parser.parse_args()
    package, _ = project()
    if said.platform is None:
        write_sdist(said.folder, package)
    else:
        write_wheel(said.folder, package, said.platform, said.program, said.engine, said.licences)


if __name__ == "__main__":
    main()
