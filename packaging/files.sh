#!/usr/bin/env bash
# files.sh DESTDIR PREFIX: installs what makes a service of the program: units, their user and directory, and the configuration
# files, unless these are there already.
set -euo pipefail
cd "$(dirname "$0")"
umask 022

destdir=$1
prefix=$2
etc=$destdir/etc/wsgi-fpm
lib=$destdir$prefix/lib
root_rights="CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_KILL CAP_NET_BIND_SERVICE"

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

install -d "$lib/systemd/system" "$lib/sysusers.d" "$lib/tmpfiles.d" "$etc/pools.d" "$etc/apps"
for unit in wsgi-fpm.service wsgi-fpm@.service; do
    sed "s|@bin@|$prefix/bin|; s|@root_rights@|$root_rights|" $unit >"$lib/systemd/system/$unit"
done
install -m 644 sysusers.conf "$lib/sysusers.d/wsgi-fpm.conf"
install -m 644 tmpfiles.conf "$lib/tmpfiles.d/wsgi-fpm.conf"

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
