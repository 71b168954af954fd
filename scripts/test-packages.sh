#!/usr/bin/env bash
# Installs what the tests need and the machine lacks, on Debian and Ubuntu; names it elsewhere. With `compat`, `containers`,
# `systems` or `bench` also what tests/compat, tests/containers, scripts/systems.sh or benches needs.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
missing=()
for server in nginx apache2 lighttpd caddy haproxy fcgiwrap spawn-fcgi; do
    command -v "$server" >/dev/null || missing+=("$server")
done
# Its name has a version.
compgen -c php-fpm >/dev/null || missing+=(php-fpm)
[ -f /usr/lib/apache2/modules/mod_fcgid.so ] || missing+=(libapache2-mod-fcgid)
[ -f /usr/lib/lighttpd/mod_openssl.so ] || missing+=(lighttpd-mod-openssl)
command -v curl >/dev/null || missing+=(curl)
# Judges units, and need not run for that.
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v logrotate >/dev/null || missing+=(logrotate)
# What judges manual pages, and shells that complete.
command -v man >/dev/null || missing+=(man-db)
for judge in mandoc zsh fish; do
    command -v "$judge" >/dev/null || missing+=("$judge")
done
command -v openssl >/dev/null || missing+=(openssl)
# The status page, and whoever scrapes metrics.
command -v chromium >/dev/null || missing+=(chromium)
command -v prometheus >/dev/null || missing+=(prometheus)
# A syslog daemon, run by a test on a socket of its own.
command -v rsyslogd >/dev/null || missing+=(rsyslog)
# The system's own Python is one that the tests serve with.
[ -x /usr/bin/python3 ] || missing+=(python3)
/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ "${1:-}" = bench ]; then
    command -v wrk >/dev/null || missing+=(wrk)
fi
if [ "${1:-}" = containers ]; then
    for tool in podman buildah crun debootstrap; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
elif [ "${1:-}" = systems ]; then
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
elif [ -n "${1:-}" ]; then
    # Quixote has a part in C and no wheel; uWSGI is all C.
    "${PYTHON:-python3}" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        missing+=(python3-dev)
fi

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    if [ "${REQUIRE_SERVERS:-}" = 1 ]; then
        echo "wsgi-fpm: the tests need ${missing[*]}: install them" >&2
        exit 1
    fi
    echo "wsgi-fpm: ${missing[*]} not found: tests that need them are skipped" >&2
    exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "wsgi-fpm: run as root: apt-get install ${missing[*]}" >&2
        exit 1
    }
    root=(sudo)
fi

# The servers are for the tests, which start them on ports of their own: installing them must neither start services nor
# fail because port 80 is taken.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '"${root[@]}" rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod 755 $policy
fi

echo "installing ${missing[*]}"
"${root[@]}" apt-get update -q
known=()
for package in "${missing[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        known+=("$package")
    elif [ "${REQUIRE_SERVERS:-}" = 1 ]; then
        echo "wsgi-fpm: there is no package $package here, and the tests need it" >&2
        exit 1
    else
        # Older releases have no Caddy.
        echo "wsgi-fpm: there is no package $package here: tests that need it are skipped" >&2
    fi
done
if [ ${#known[@]} -ne 0 ]; then
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${known[@]}"
fi
