"""Zope by the file that mkwsgiinstance writes, as its own server loads it; this file stands in the instance."""

import shutil
import tempfile
from pathlib import Path

from paste.deploy import loadapp

IN_MEMORY = 1 << 20


def rewindable(application):
    """Zope reads a body twice: after a conflict in the database, and for PUT. WSGI lets a server pass it only once."""

    def with_copied_body(environ, start_response):
        body = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)
        shutil.copyfileobj(environ["wsgi.input"], body)
        body.seek(0)
        environ["wsgi.input"] = body
        return application(environ, start_response)

    return with_copied_body


application = rewindable(loadapp(f"config:{Path(__file__).resolve().parent / 'etc/zope.ini'}"))
