#!/usr/bin/env bash
# Installs what the tests need and the machine lacks, on Debian and Ubuntu; names it elsewhere.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
missing=()
command -v nginx >/dev/null || missing+=(nginx)
command -v curl >/dev/null || missing+=(curl)
# The system's own Python is one that the tests serve with.
[ -x /usr/bin/python3 ] || missing+=(python3)
/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

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
echo "installing ${missing[*]}"
"${root[@]}" apt-get update -q
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
