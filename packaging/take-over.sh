#!/bin/sh
# take-over UNIT FILE: the program that was just installed takes the place of the one that runs as UNIT and serves what FILE says.
# It does so in the same process (SIGUSR2), and requests that run go on. Only a unit that has changed takes a restart, during which
# connections wait. Where the new program would not start, or can't take over, the old one goes on.
set -u
unit=$1
file=$2
program=/usr/bin/wsgi-fpm
units=/usr/lib/systemd/system
# Where the package has put the units of before.
before=/run/wsgi-fpm.units

if ! "$program" check --show --config "$file" >/dev/null; then
    echo "wsgi-fpm: $unit goes on with the old program, for $file has mistakes; mend them, then: systemctl restart $unit" >&2
    exit 0
fi

# A template's instances have its unit.
case $unit in
*@*) text=${unit%@*}@.service ;;
*) text=$unit ;;
esac

inode() { stat --dereference --format %d:%i "$1" 2>/dev/null; }

# The new program is asked for half a minute at most.
taken_over() {
    pid=$(systemctl show --property MainPID --value "$unit")
    [ "${pid:-0}" -gt 0 ] && kill -USR2 "$pid" || return 1
    tries=350
    while [ "$(inode "/proc/$pid/exe")" != "$(inode "$program")" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}

if cmp -s "$before/$text" "$units/$text"; then
    taken_over || echo "wsgi-fpm: $unit goes on with the old program: journalctl -u $unit says why; to start the new one: systemctl restart $unit" >&2
    exit 0
fi
if command -v deb-systemd-invoke >/dev/null; then
    deb-systemd-invoke restart "$unit" || :
else
    systemctl try-restart "$unit" || :
fi
