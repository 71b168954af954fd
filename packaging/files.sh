#!/usr/bin/env bash
# files.sh DESTDIR PREFIX: installs what makes a service of the program: units and what belongs to them, from deploy/systemd, and the
# configuration files, unless these are there already.
set -euo pipefail
cd "$(dirname "$0")"
umask 022

destdir=$1
prefix=$2
etc=$destdir/etc/wsgi-fpm
lib=$destdir$prefix/lib
systemd=../deploy/systemd

# pool TO: the example of a pool, with the words of its NAME=VALUE arguments in place.
pool() {
    local to=$1 text
    shift
    text=$(cat pool.toml)
    for word in "$@"; do
        text=${text//@${word%%=*}@/${word#*=}}
    done
    printf '%s\n' "$text" | sed '/^none$/d' >"$to"
}

# keep FROM TO: FROM as TO, if that is not there.
keep() {
    [ -e "$2" ] || install -m 644 "$1" "$2"
}

install -d "$lib/systemd/system" "$lib/sysusers.d" "$lib/tmpfiles.d" "$etc/pools.d" "$etc/apps" "$destdir/etc/logrotate.d"
for unit in wsgi-fpm.service wsgi-fpm@.service wsgi-fpm@.socket wsgi-fpm-pool@.socket; do
    sed "s|/usr/bin/wsgi-fpm|$prefix/bin/wsgi-fpm|" "$systemd/$unit" >"$lib/systemd/system/$unit"
done
install -m 644 "$systemd/sysusers.d/wsgi-fpm.conf" "$lib/sysusers.d/"
install -m 644 "$systemd/tmpfiles.d/wsgi-fpm.conf" "$lib/tmpfiles.d/"
keep "$systemd/logrotate.d/wsgi-fpm" "$destdir/etc/logrotate.d/wsgi-fpm"

keep wsgi-fpm.toml "$etc/wsgi-fpm.toml"
example=$(mktemp)
trap 'rm -f "$example"' EXIT
pool "$example" example=/etc/wsgi-fpm/pools.d/example.toml.disabled copy=/etc/wsgi-fpm/pools.d/example.toml check= \
    start="reload-or-restart wsgi-fpm" socket=/run/wsgi-fpm/example.sock more=none
keep "$example" "$etc/pools.d/example.toml.disabled"
pool "$example" example=/etc/wsgi-fpm/apps/example.toml.disabled copy=/etc/wsgi-fpm/apps/example.toml \
    check=" -c /etc/wsgi-fpm/apps/example.toml" start="enable --now wsgi-fpm@example" \
    socket=/run/wsgi-fpm-example/wsgi.sock more='listen_group = "www-data"'
keep "$example" "$etc/apps/example.toml.disabled"
