#!/usr/bin/env bash
# inside.sh: within the root of another system. Installs what lies in /packages as a user would and runs the tests in /suites.
set -euo pipefail

# shellcheck disable=SC1091
. /etc/os-release
echo "$PRETTY_NAME, nginx $(nginx -v 2>&1 | cut -d / -f 2), $(ldd --version | head -n 1)"

DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends /packages/*.deb >/tmp/apt.log 2>&1 ||
    { cat /tmp/apt.log; exit 1; }
wsgi-fpm --version

status=0
lintian --allow-root --fail-on error /packages/*.deb || status=$?

# suite NAME [ARGUMENT]...: a line before it, as cargo has one, for whoever counts.
suite() {
    echo "     Running $1: $("$python" --version), $WSGI_FPM_TEST_PROGRAM, $PRETTY_NAME"
    "/suites/$1" "${@:2}" --quiet || status=$?
}

for python in $(compgen -G '/usr/bin/python3.*' | grep -E '/python3\.[0-9]+$'); do
    version=${python##*/}
    "$python" -m venv "/tmp/$version"
    "/tmp/$version/bin/pip" install --quiet --no-index --disable-pip-version-check /packages/*.whl
    [ "$("/tmp/$version/bin/wsgi-fpm" --version)" = "$(wsgi-fpm --version)" ]
    [ "$("/tmp/$version/bin/python" -m wsgi_fpm --version)" = "$(wsgi-fpm --version)" ]
    # The program of the wheel, so of that environment; and the one of the deb, which is told which Python to run.
    for program in "/tmp/$version/bin/wsgi-fpm" /usr/bin/wsgi-fpm; do
        export WSGI_FPM_TEST_PROGRAM=$program WSGI_FPM_TEST_PYTHON=$python
        if [ "$program" = /usr/bin/wsgi-fpm ]; then
            suite wsgi
        fi
        suite frontends nginx
    done
done
exit "$status"
