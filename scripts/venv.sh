#!/usr/bin/env bash
# venv.sh DIRECTORY REQUIREMENTS...: a virtual environment with these requirements, made anew when they have changed.
set -euo pipefail

fail() {
    echo "wsgi-fpm: $*" >&2
    exit 1
}

directory=$1
shift
python=${PYTHON:-python3}
minimum=${PYTHON_AT_LEAST:-3.9}

command -v "$python" >/dev/null ||
    fail "$python is missing: apt-get install python3 python3-venv, or name another with PYTHON="
"$python" -c 'import sys; sys.exit(sys.version_info < tuple(map(int, sys.argv[1].split("."))))' "$minimum" ||
    fail "$python is $("$python" --version 2>&1), $minimum or newer is needed: name another with PYTHON="
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python can't make virtual environments: apt-get install python3-venv"

# Written last, so that a half-made environment is made again.
stamp=$directory/made-from
wanted=$("$python" -c 'import sys; print(sys.version, sys.prefix)'; cat "$@")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "making $directory"
rm -rf "$directory"
mkdir -p "$(dirname "$directory")"
"$python" -m venv "$directory"
requirements=()
for file in "$@"; do
    requirements+=(-r "$file")
done
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}" ||
    fail "pip can't install $*: is the package index within reach?"
printf '%s\n' "$wanted" >"$stamp"
