"""``python -m wsgi_fpm``: becomes the program that was installed together with this package."""

import os
import sys
import sysconfig


def places():
    """Where it may lie, the surest first."""
    site = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for scheme in sysconfig.get_scheme_names():
        if os.path.realpath(sysconfig.get_path("platlib", scheme)) == site:
            yield sysconfig.get_path("scripts", scheme)
    # pip install --target
    yield os.path.join(site, "bin")
    yield os.path.dirname(sys.executable)


def main():
    for place in places():
        program = os.path.join(place, "wsgi-fpm")
        if os.access(program, os.X_OK):
            os.execv(program, [program] + sys.argv[1:])
    sys.exit("wsgi-fpm: error: the program is missing beside %s; install it anew: %s -m pip install --force-reinstall wsgi-fpm" % (
        sys.executable, sys.executable))


if __name__ == "__main__":
    main()
