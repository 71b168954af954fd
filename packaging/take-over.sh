#!/bin/sh
# take-over: the program that was just installed takes the place of the one that runs, in each unit of the package that is active. It
# does so in the same process (SIGUSR2), and requests that run go on. Only a unit that has changed takes a restart, during which
# connections wait. Where the new program would not start, or can't take over, the old one goes on.
set -u
program=/usr/bin/wsgi-fpm
units=/usr/lib/systemd/system
# Where the package has put the units of before.
before=/run/wsgi-fpm.units

inode() { stat --dereference --format %d:%i "$1" 2>/dev/null; }

# taken_over UNIT. The new program is asked for half a minute at most.
taken_over() {
    pid=$(systemctl show --property MainPID --value "$1")
    [ "${pid:-0}" -gt 0 ] && kill -USR2 "$pid" || return 1
    tries=350
    while [ "$(inode "/proc/$pid/exe")" != "$(inode "$program")" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}

# take_over UNIT TEXT FILE: TEXT is the unit's file, FILE the configuration that it serves.
take_over() {
    if ! "$program" check --show --config "$3" >/dev/null; then
        echo "wsgi-fpm: $1 goes on with the old program, for $3 has mistakes; mend them, then: systemctl restart $1" >&2
    elif cmp -s "$before/$2" "$units/$2"; then
        taken_over "$1" || echo "wsgi-fpm: $1 goes on with the old program: journalctl -u $1 says why; to start the new one: systemctl restart $1" >&2
    elif command -v deb-systemd-invoke >/dev/null; then
        deb-systemd-invoke restart "$1" || :
    else
        systemctl try-restart "$1" || :
    fi
}

if systemctl --quiet is-active wsgi-fpm.service; then
    take_over wsgi-fpm.service wsgi-fpm.service /etc/wsgi-fpm/wsgi-fpm.toml
fi
for unit in $(systemctl list-units --plain --no-legend --state=active 'wsgi-fpm@*.service' | cut -d ' ' -f 1); do
    name=${unit#wsgi-fpm@}
    take_over "$unit" wsgi-fpm@.service "/etc/wsgi-fpm/apps/${name%.service}.toml"
done
rm -rf "$before"
