#!/usr/bin/env bash
# Says in one line what is missing to build; a compiler's own words come too late and are longer.
set -euo pipefail

fail() {
    echo "wsgi-fpm: $*" >&2
    exit 1
}

wanted=1.88

command -v cargo >/dev/null ||
    fail "cargo is missing: install Rust $wanted or newer from https://rustup.rs and open a new shell"
# "cargo 1.88.0 (...)", with a suffix where it isn't a stable one.
version=$(cargo --version | cut -d ' ' -f 2)
lower=$(printf '%s\n%s\n' "$wanted" "${version%%-*}" | sort -V | head -n 1)
[ "$lower" = "$wanted" ] ||
    fail "Rust $version is too old, $wanted or newer is needed: run rustup update, or install it from https://rustup.rs"
command -v cc >/dev/null || fail "a C compiler is missing, Rust links with it: apt-get install gcc libc6-dev"
