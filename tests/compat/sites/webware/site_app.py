"""The compatibility site on Webware for Python: this directory is its working directory, as `webware make` makes one."""

import os

import webware

webware.addToSearchPath()

from Application import Application  # noqa: E402

application = Application(os.path.dirname(os.path.abspath(__file__)), settings={})
