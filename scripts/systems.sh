#!/usr/bin/env bash
# systems.sh CACHE [SUITE...]: tries the packages of dist/ in each of these Debian suites: what an administrator does with the deb and
# with the rpm, in a system that is booted (packaging/tests/upgrade.sh); then, with the deb and the wheel installed as a user would, the
# wsgi suite and everything behind nginx, with every Python there. Needs root and, for the rpm, nfpm on PATH; the roots are kept in CACHE.
#
# Nothing of the build machine is there but the packages, and the tests with their files.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$1
shift
suites=("$@")
[ ${#suites[@]} -ne 0 ] || suites=(bookworm trixie sid)

fail() {
    echo "wsgi-fpm: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "roots of other systems are made and entered by root"
for kind in deb rpm whl; do
    compgen -G "dist/*.$kind" >/dev/null || fail "dist/ has no $kind: run make dist"
done

# What the tests need there. Each Python that the suite has beside its own is named, with its venv.
packages() {
    echo python3 python3-venv nginx fcgiwrap spawn-fcgi systemd systemd-sysv dbus man-db rpm rpm2cpio cpio curl openssl ca-certificates procps lintian gcc libc6-dev
    case $1 in
        sid) echo python3.15 python3.15-venv libpython3.15 ;;
    esac
}

# root SUITE: made once, and anew when it is to have other packages.
root() {
    local suite=$1 directory=$cache/$1 wanted mirror
    wanted=$(packages "$suite")
    [ "$(cat "$directory.made-from" 2>/dev/null)" = "$wanted" ] && return
    mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
    echo "making $suite"
    rm -rf "$directory" "$directory.made-from"
    mkdir -p "$directory"
    debootstrap --variant=minbase "$suite" "$directory" "$mirror" >"$directory.log" 2>&1 ||
        fail "$suite can't be made: see $directory.log"
    # A mirror may be a few days behind.
    echo 'Acquire::Check-Valid-Until "false";' >"$directory/etc/apt/apt.conf.d/50old-mirror"
    # Nothing is to be started in it.
    printf '#!/bin/sh\nexit 101\n' >"$directory/usr/sbin/policy-rc.d"
    chmod 755 "$directory/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2046
    chroot "$directory" sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"' \
        sh $(packages "$suite") >>"$directory.log" 2>&1 || fail "$suite lacks packages: see $directory.log"
    echo "$wanted" >"$directory.made-from"
}

# inside SUITE: in a copy of its root that is thrown away.
inside() {
    local suite=$1
    unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
        root=$1 scratch=$2 source=$3 tests=$4
        mount -t tmpfs tmpfs "$scratch"
        mkdir "$scratch"/{upper,work,root}
        mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
        cd "$scratch/root"
        mkdir -p ".$source" packages suites
        mount --bind "$source" ".$source"
        mount -o remount,bind,ro ".$source"
        mount --bind "$tests" suites
        cp "$source"/dist/*.deb "$source"/dist/*.whl packages/
        cp "$source"/scripts/systems/inside.sh .
        mount -t proc proc proc
        mount --rbind /dev dev
        exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root REQUIRE_SERVERS=1 bash /inside.sh
    ' bash "$(realpath "$cache/$suite")" "$scratch" "$PWD" "$tests"
}

scratch=$(mktemp -d)
tests=$(mktemp -d)
trap 'rm -rf "$scratch" "$tests"' EXIT
cargo test --locked --no-run --message-format=json --test wsgi --test frontends --quiet |
    python3 -c '
import json, shutil, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and made["target"]["name"] in ("wsgi", "frontends"):
        shutil.copy(made["executable"], sys.argv[1] + "/" + made["target"]["name"])
' "$tests"

status=0
for suite in "${suites[@]}"; do
    root "$suite"
    begun=$SECONDS
    echo "== $suite"
    for package in dist/*.deb dist/*.rpm; do
        packaging/tests/upgrade.sh "$cache/$suite" "$package" || status=$?
    done
    inside "$suite" || status=$?
    echo "== $suite: $((SECONDS - begun)) s"
done
exit "$status"
