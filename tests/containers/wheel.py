"""Packs a built program as a wheel, for trials of the Containerfile where `make dist` has made none."""

import base64
import hashlib
import os
import zipfile

NAME = "wsgi_fpm-0.0.0.dev0"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests/containers\nRoot-Is-Purelib: false\nTag: py3-none-any\n"
METADATA = "Metadata-Version: 2.1\nName: wsgi-fpm\nVersion: 0.0.0.dev0\n"


def pack(files, directory):
    """Makes a wheel in `directory` whose `files` go to an environment's bin. Returns its path."""
    path = os.path.join(directory, NAME + "-py3-none-any.whl")
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:

        def add(name, data):
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100755 << 16
            wheel.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append("%s,sha256=%s,%d" % (name, digest, len(data)))

        for file in files:
            with open(file, "rb") as opened:
                add("%s.data/scripts/%s" % (NAME, os.path.basename(file)), opened.read())
        add(NAME + ".dist-info/METADATA", METADATA.encode())
        add(NAME + ".dist-info/WHEEL", WHEEL.encode())
        listed = NAME + ".dist-info/RECORD"
        wheel.writestr(listed, "\n".join(record + [listed + ",,", ""]))
    return path
