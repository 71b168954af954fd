#!/usr/bin/env bash
# upgrade.sh ROOT PACKAGE: installs PACKAGE, a deb or an rpm, in the Debian system in ROOT, which stays as it is, boots that with its own
# systemd, and does what an administrator does: the first pool, nginx in front, an upgrade under load, one with a broken file, removal, purge. Needs root.
set -euo pipefail

# Its mounts are its own, and end with it.
[ "${OWN_MOUNTS:-}" = yes ] || OWN_MOUNTS=yes exec unshare --mount bash "$0" "$@"

from=$(realpath "$1")
package=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
began=$SECONDS
directory=$(mktemp -d)
root=$directory/root
boot=

finish() {
    if [ -n "$boot" ]; then
        kill -TERM "$boot" 2>/dev/null || true
        wait "$boot" 2>/dev/null || true
    fi
    umount --recursive "$directory"
    rmdir "$directory"
}
trap finish EXIT
mount -t tmpfs tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$root"
mount -t overlay overlay -o "lowerdir=$from,upperdir=$directory/upper,workdir=$directory/work" "$root"

say() { printf '%4ds  %s\n' $((SECONDS - began)) "$*"; }

fail() {
    say "FAILED: $*"
    [ -z "$boot" ] || inside journalctl --no-pager -n 40 -u 'wsgi-fpm*' || tail -n 20 "$directory/boot.log"
    exit 1
}

# once COMMAND...: in the system that is not booted, with this machine's network.
once() { systemd-nspawn --quiet --register=no --keep-unit --pipe --directory "$root" "$@"; }

# inside COMMAND...: in the system that runs.
inside() { nsenter --all --target "$init" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }

# until_true WHAT COMMAND...
until_true() {
    local what=$1 tries=300
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "waited in vain: $what"
        sleep 0.1
    done
}

is() { [ "$(inside systemctl is-active "$1" || true)" = "$2" ] || fail "$1 is not $2"; }

# manager COMMAND...: of the package manager, which says much.
manager() { inside "$@" >"$directory/manager.log" 2>&1 || { cat "$directory/manager.log"; fail "$*"; }; }

# What differs between the kinds of packages.
# shellcheck disable=SC1090
. "$here/${package##*.}.sh"

page() { inside curl --silent --max-time 10 http://127.0.0.1/; }
is_page() { [ "$(page)" = "a page" ]; }

rm -f "$root/etc/resolv.conf"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# Where a system that is only entered keeps services from starting.
rm -f "$root/usr/sbin/policy-rc.d"
packages=(systemd systemd-sysv dbus python3 nginx curl man-db procps "${tools[@]}")
# Nothing is asked of a mirror where all is there. Copies of a distribution that are not renewed any more will do.
once env DEBIAN_FRONTEND=noninteractive sh -c 'install="apt-get -q -y --no-install-recommends install"
    $install --no-download "$@" || { apt-get -q -o Acquire::Check-Valid-Until=false update && $install "$@"; }' \
    sh "${packages[@]}" >"$directory/manager.log" 2>&1 || { cat "$directory/manager.log"; exit 1; }
cp "$package" "$root/root/first.${package##*.}"
prepare
for number in 1 2 3; do
    higher $number
done
say "the system is there"

# The second version of cgroups is the only one that systemd knows today, and a machine may have the first.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --register=no --keep-unit --private-network --directory "$root" --boot >"$directory/boot.log" 2>&1 </dev/null &
boot=$!
init=
find_init() { init=$(pgrep --parent "$boot" | head -n 1) && [ -n "$init" ]; }
for _ in $(seq 100); do
    find_init && break
    sleep 0.1
done
find_init || { cat "$directory/boot.log"; exit 1; }
# systemd 252 says "running" here, newer ones "degraded" where the container lacks something of theirs.
is_up() { [[ "$(inside systemctl is-system-running 2>/dev/null)" =~ running|degraded ]]; }
until_true "systemd is up" is_up
failed_before=$(inside systemctl --failed --plain --no-legend | wc -l)
say "$(inside systemctl --version | head -n 1) is up"

start=$(date +%s%N)
installed first
say "installed in $((($(date +%s%N) - start) / 1000000)) ms; $(inside wsgi-fpm --version)"
enabled
is wsgi-fpm.service inactive
[ "$(inside systemctl --failed --plain --no-legend | wc -l)" = "$failed_before" ] || fail "something failed"
[ "$(inside systemctl is-enabled wsgi-fpm.service)" = enabled ] || fail "it is not enabled"
inside id wsgi-fpm >/dev/null
inside man --where wsgi-fpm >/dev/null || fail "no manual page"
say "nothing runs, nothing has failed"

mkdir -p "$root/srv/example/uploads"
chmod 777 "$root/srv/example/uploads"
echo 0 >"$root/srv/example/delay"
cat >"$root/srv/example/hello.py" <<'PY'
import time

time.sleep(float(open("/srv/example/delay").read()))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/ordinary":
        import ordinary

        return [ordinary.failures().encode()]
    return [b"a page\n"]
PY
cat >"$root/srv/example/ordinary.py" <<'PY'
"""What ordinary applications do, all of which the units have to leave them."""
import ctypes
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import tempfile
import threading

TRIALS = {
    "a callback of ctypes": lambda: ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)(),
    "a lock of multiprocessing": multiprocessing.Lock,
    "a process": lambda: subprocess.run(["ls", "/"], check=True, capture_output=True),
    "a thread": lambda: threading.Thread(target=os.getpid).start(),
    "a temporary file": tempfile.NamedTemporaryFile,
    "a connection to another server": lambda: socket.create_connection(("127.0.0.1", 80)).close(),
    "names of network interfaces": socket.if_nameindex,
    "an upload beside the application": lambda: open("/srv/example/uploads/%d" % os.getpid(), "w").close(),
    "number of processors": lambda: len(os.sched_getaffinity(0)) and os.getloadavg(),
}


def failures():
    kept = "/var/lib/wsgi-fpm-example"
    if os.path.isdir(kept):
        TRIALS["a database"] = lambda: sqlite3.connect(kept + "/db").execute("CREATE TABLE IF NOT EXISTS t (x)")
    failed = []
    for what, do in TRIALS.items():
        try:
            do()
        except Exception as error:
            failed.append("%s: %r\n" % (what, error))
    return "".join(failed) or "all well\n"
PY
sed 's/mysite.wsgi:application/hello:application/' "$root/etc/wsgi-fpm/pools.d/example.toml.disabled" >"$root/etc/wsgi-fpm/pools.d/example.toml"
cat >"$root/etc/nginx/sites-available/default" <<'NGINX'
server {
    listen 80 default_server;
    location / {
        include /usr/share/wsgi-fpm/wsgi_fpm_params;
        fastcgi_pass unix:/run/wsgi-fpm/example.sock;
    }
}
NGINX
inside systemctl restart nginx
start=$(date +%s%N)
inside wsgi-fpm check
inside systemctl reload-or-restart wsgi-fpm
until_true "the page is served" is_page
say "first page $((($(date +%s%N) - start) / 1000000)) ms after the pool was written"
[ "$(inside stat -c '%U:%G %a' /run/wsgi-fpm/example.sock)" = "root:$group 660" ] || fail "the socket is $(inside stat -c '%U:%G %a' /run/wsgi-fpm/example.sock)"
inside ps -o user=,args= -C wsgi-fpm,python3 | cut -c 1-110
# asked SOCKET PATH: the answer.
asked() { inside /root/asker ping --timeout 20s --body "$@" 2>/dev/null; }
is_well() {
    local found
    found=$(asked "$1" /ordinary)
    [ "$found" = "all well" ] || fail "what the unit keeps from an ordinary application: $found"
}
# is_said UNIT STATUS: what an administrator reads in systemctl status.
is_said() { [ "$(inside systemctl show --property StatusText --value "$1")" = "$2" ]; }
until_true "the status is told" is_said wsgi-fpm "1 pool: 1 serves"
main_pid() { inside systemctl show --property MainPID --value "${1:-wsgi-fpm.service}"; }
# is_upgraded PID: the process has gone on, as the program that was installed last.
is_upgraded() { [ "$(inside stat -Lc %d:%i "/proc/$1/exe")" = "$(inside stat -Lc %d:%i /usr/bin/wsgi-fpm)" ]; }

inside cp --dereference /usr/bin/wsgi-fpm /root/asker
is_well /run/wsgi-fpm/example.sock
# The supervisor, which is root with few rights, knows what processes of another user need.
knows_memory() {
    inside wsgi-fpm status --json | python3 -c 'import json, sys; workers = json.load(sys.stdin)["pools"][0]["workers"]; sys.exit(not all(worker["memory"] for worker in workers))'
}
until_true "the memory of workers is known" knows_memory
# less_exposed UNIT: by systemd's own measure, which grows from version to version.
less_exposed() {
    local exposure
    exposure=$(inside systemd-analyze security --no-pager "$1" | sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p')
    [ "$(echo "$exposure" | tr -d .)" -lt 30 ] || fail "$1 is exposed: $exposure"
    say "$1: exposure $exposure"
}
less_exposed wsgi-fpm.service

# What has changed is loaded for a second, and systemctl waits for it.
echo 1 >"$root/srv/example/delay"
echo 'threads = 3' >>"$root/etc/wsgi-fpm/pools.d/example.toml"
start=$(date +%s%N)
inside systemctl reload wsgi-fpm
milliseconds=$((($(date +%s%N) - start) / 1000000))
[ $milliseconds -ge 1000 ] || fail "systemctl reload has not waited: $milliseconds ms"
say "reload: systemctl has waited for $milliseconds ms"
echo 0 >"$root/srv/example/delay"

# fails_until_mended UNIT SOCKET: a version that can't be loaded fails the reload, with its traceback in the journal, and the one
# before serves on.
fails_until_mended() {
    local unit=$1 socket=$2 code=$root/srv/example/hello.py since
    cp "$code" "$directory/hello.py"
    echo 'import no_such_module' >"$code"
    since=$(date +%s)
    ! inside systemctl reload "$unit" 2>"$directory/reload.log" || fail "$unit: systemctl reload knows nothing of a version that has failed"
    grep -q "journalctl" "$directory/reload.log" || fail "systemctl reload says: $(cat "$directory/reload.log")"
    is_in_journal() {
        inside journalctl --output cat --since "@$since" --unit "$unit" | tr '\n' ' ' | grep -q "new version failed, and the one before goes on.*Traceback.*no_such_module"
    }
    until_true "the journal has the traceback" is_in_journal
    is "$unit" active
    [ "$(asked "$socket" /)" = "a page" ] || fail "$unit: no page after a reload that has failed"
    cp "$directory/hello.py" "$code"
    inside systemctl reload "$unit" || fail "$unit: no reload after the application was mended"
    [ "$(asked "$socket" /)" = "a page" ] || fail "$unit: no page after a reload"
    say "$unit: systemctl reload fails with a version that does, and not with the next one"
}
sed -i 's/^threads = 3$/threads = 2/' "$root/etc/wsgi-fpm/pools.d/example.toml"
fails_until_mended wsgi-fpm.service /run/wsgi-fpm/example.sock
until_true "the status is told" is_said wsgi-fpm "1 pool: 1 serves"
echo 'thread = 1' >>"$root/etc/wsgi-fpm/pools.d/example.toml"
! inside systemctl reload wsgi-fpm 2>/dev/null || fail "systemctl reload knows nothing of a file with a mistake"
sed -i '$d' "$root/etc/wsgi-fpm/pools.d/example.toml"
inside systemctl reload wsgi-fpm

# Two loops, a request each twentieth of a second: through nginx, and on a connection of its own.
cat >"$root/root/load.py" <<'PY'
import subprocess
import sys
import threading
import time
import urllib.request

counts = {}
over = threading.Event()


def count(way, ask):
    longest = asked = failed = 0
    while not over.is_set():
        began = time.monotonic()
        asked += 1
        try:
            wrong = ask()
        except Exception as error:
            wrong = repr(error)
        if wrong:
            failed += 1
            print("failed", way, wrong, flush=True)
        longest = max(longest, time.monotonic() - began)
        counts[way] = (asked, failed, longest)
        time.sleep(0.05)


def through_nginx():
    return urllib.request.urlopen("http://127.0.0.1/", timeout=30).read() != b"a page\n"


def alone():
    command = ["/root/asker", "ping", "/run/wsgi-fpm/example.sock", "/"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode and done.stdout + done.stderr


threads = [threading.Thread(target=count, args=way) for way in [("nginx", through_nginx), ("alone", alone)]]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
for way, (asked, failed, longest) in counts.items():
    print("%s: %d requests, %d failed, the longest %.0f ms" % (way, asked, failed, longest * 1000))
sys.exit(any(failed for _, failed, _ in counts.values()))
PY

# under_load WHAT COMMAND...: with both loops before, meanwhile and after.
under_load() {
    local what=$1 load start
    shift
    mkfifo "$directory/end"
    inside python3 /root/load.py <"$directory/end" >"$directory/load.log" 2>&1 &
    load=$!
    exec 7>"$directory/end"
    sleep 1
    start=$(date +%s%N)
    "$@"
    say "$what: $((($(date +%s%N) - start) / 1000000)) ms"
    sleep 1
    exec 7>&-
    rm "$directory/end"
    wait $load || { cat "$directory/load.log"; fail "$what: requests failed"; }
    sed 's/^/       /' "$directory/load.log"
}

before=$(main_pid)
under_load "upgrade" installed upgrade1
[ "$(main_pid)" = "$before" ] || fail "it was started again"
is_upgraded "$before" || fail "the old program still runs"
under_load "three restarts" inside sh -c 'for i in 1 2 3; do systemctl restart wsgi-fpm; done'

# What runs at that moment is lost; what comes afterwards waits. systemd counts starts, and there were many.
inside systemctl reset-failed wsgi-fpm
before=$(main_pid)
inside kill -KILL "$before"
killed() { [ "$(main_pid)" != "$before" ]; }
until_true "systemd knows" killed
start=$(date +%s%N)
inside /root/asker ping --timeout 20s /run/wsgi-fpm/example.sock / >/dev/null || fail "the supervisor was killed, and nobody could wait"
say "the supervisor was killed: a request has waited $((($(date +%s%N) - start) / 1000000)) ms"
inside systemctl reset-failed wsgi-fpm

# One that hangs is started again.
mkdir -p "$root/run/systemd/system" "$root/etc/systemd/system/wsgi-fpm.service.d"
printf '[Service]\nWatchdogSec=2s\nTimeoutAbortSec=2s\n' >"$root/etc/systemd/system/wsgi-fpm.service.d/test.conf"
inside systemctl daemon-reload
inside systemctl restart wsgi-fpm
before=$(main_pid)
sleep 5
[ "$(main_pid)" = "$before" ] || fail "a supervisor that is well was started again"
start=$(date +%s%N)
inside kill -STOP "$before"
until_true "the watchdog" killed
asked /run/wsgi-fpm/example.sock / >/dev/null || fail "the supervisor hung, and nobody could wait"
say "the supervisor hung: another one has answered after $((($(date +%s%N) - start) / 1000000)) ms"
rm -r "$root/etc/systemd/system/wsgi-fpm.service.d"
inside systemctl daemon-reload
inside systemctl restart wsgi-fpm
inside systemctl reset-failed wsgi-fpm

before=$(main_pid)
echo 'thread = 1' >>"$root/etc/wsgi-fpm/pools.d/example.toml"
under_load "upgrade with a mistake in the file" installed upgrade2
grep "goes on with the old program" "$directory/manager.log" || fail "nothing is said of the mistake"
[ "$(main_pid)" = "$before" ] || fail "it was started again"
sed -i '$d' "$root/etc/wsgi-fpm/pools.d/example.toml"
under_load "reload, then restart, once it is mended" inside sh -c 'systemctl reload wsgi-fpm; systemctl restart wsgi-fpm'

# The template unit: another application, as a service of its own.
sed 's/mysite.wsgi:application/hello:application/' "$root/etc/wsgi-fpm/apps/example.toml.disabled" >"$root/etc/wsgi-fpm/apps/example.toml"
inside systemctl start wsgi-fpm@example
until_true "the template unit serves" inside /root/asker ping /run/wsgi-fpm-example/wsgi.sock /
is_well /run/wsgi-fpm-example/wsgi.sock
less_exposed wsgi-fpm@example.service
fails_until_mended wsgi-fpm@example.service /run/wsgi-fpm-example/wsgi.sock
# What logrotate has systemd do, once logs are put away.
while read -r command; do
    inside sh -c "$command" </dev/null || fail "logrotate's command: $command"
done < <(sed -n 's/^ *\(systemctl kill .*\) 2>.*/\1/p' "$root/etc/logrotate.d/wsgi-fpm")
for unit in wsgi-fpm.service wsgi-fpm@example.service; do
    has_heard() { inside journalctl --output cat --unit "$unit" | grep -q "there is nothing to open anew"; }
    until_true "$unit hears of logs that were put away" has_heard
done
# Their sockets may be there before them: what arrives starts the one, the other has one for a pool by its name.
sed 's/^listen = .*/listen = "fd:wsgi"/; /^listen_group/d' "$root/etc/wsgi-fpm/apps/example.toml" >"$root/etc/wsgi-fpm/apps/early.toml"
sed 's/^listen = .*/listen = "fd:named"/; s/^.pool.example./[pool.named]/' "$root/etc/wsgi-fpm/pools.d/example.toml" >"$root/etc/wsgi-fpm/pools.d/named.toml"
inside systemctl start wsgi-fpm@early.socket
asked /run/wsgi-fpm-early.sock / >/dev/null || fail "nothing is started by its socket"
inside systemctl stop wsgi-fpm
inside systemctl start wsgi-fpm-pool@named.socket
inside systemctl start wsgi-fpm
until_true "the status is told" is_said wsgi-fpm "2 pools: 2 serve"
asked /run/wsgi-fpm-named.sock / >/dev/null || fail "the pool has not got the socket of its name"
[ "$(inside stat -c '%G %a' /run/wsgi-fpm-early.sock)" = "$group 660" ] || fail "the socket is $(inside stat -c '%G %a' /run/wsgi-fpm-early.sock)"
before_all=$(main_pid)
before_early=$(main_pid wsgi-fpm@early)
before=$(main_pid wsgi-fpm@example)
installed upgrade3
[ "$(main_pid) $(main_pid wsgi-fpm@early)" = "$before_all $before_early" ] || fail "what has sockets of socket units was started again"
asked /run/wsgi-fpm-named.sock / >/dev/null && asked /run/wsgi-fpm-early.sock / >/dev/null || fail "sockets are lost in an upgrade"
rm "$root/etc/wsgi-fpm/pools.d/named.toml"
inside systemctl stop wsgi-fpm@early.socket wsgi-fpm@early wsgi-fpm-pool@named.socket wsgi-fpm
inside systemctl start wsgi-fpm
say "sockets of socket units: by name, over an upgrade"
[ "$(main_pid wsgi-fpm@example)" = "$before" ] || fail "the template unit was started again"
is_upgraded "$before" || fail "the template unit's old program still runs"
until_true "the template unit serves" inside /root/asker ping /run/wsgi-fpm-example/wsgi.sock /
say "the template unit serves, also after an upgrade"

inside systemctl stop wsgi-fpm
[ "$(inside curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1/)" = 502 ] || fail "no 502 from a service that is stopped"
inside systemctl start wsgi-fpm
[ "$(page)" = "a page" ] || fail "no page after stop and start"
say "stopped: 502; started: a page"

removed
[ -z "$(inside pgrep -a wsgi-fpm || true)" ] || fail "something still runs"
[ -f "$root/etc/wsgi-fpm/pools.d/example.toml" ] || fail "remove has removed the pool"
[ -f "$root/var/lib/wsgi-fpm-example/db" ] || fail "remove has removed the application's data"
installed upgrade3
enabled
until_true "the page is there again" is_page
say "removed, installed again: the pool is served"

rm "$root/var/lib/wsgi-fpm-example/db"
purged
left=$(inside sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \) -prune -o -name "*wsgi[-_]fpm*" -print; ls -d /run/wsgi-fpm* 2>/dev/null || true')
[ -z "$left" ] || fail "purge leaves: $left"
[ "$(inside systemctl --failed --plain --no-legend | wc -l)" = "$failed_before" ] || fail "something failed"
say "purged: nothing is left"
