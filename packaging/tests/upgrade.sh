#!/usr/bin/env bash
# upgrade.sh ROOT DEB: installs DEB in a copy of the Debian system in ROOT, boots that with its own systemd, and does what an
# administrator does: the first pool, nginx in front, an upgrade under load, one with a broken file, removal, purge. Needs root.
set -euo pipefail

from=$(realpath "$1")
deb=$(realpath "$2")
began=$SECONDS
directory=$(mktemp -d "${TMPDIR:-/var/tmp}/wsgi-fpm-package-XXXXXX")
root=$directory/root
boot=

finish() {
    if [ -n "$boot" ]; then
        kill -TERM "$boot" 2>/dev/null || true
        wait "$boot" 2>/dev/null || true
    fi
    rm -rf "$directory"
}
trap finish EXIT

say() { printf '%4ds  %s\n' $((SECONDS - began)) "$*"; }

fail() {
    say "FAILED: $*"
    [ ! -f "$directory/boot.log" ] || inside journalctl --no-pager -n 40 -u 'wsgi-fpm*' || true
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

install_deb() { inside apt-get -q -y -o Dpkg::Use-Pty=0 install "$@" >"$directory/apt.log" 2>&1 || { cat "$directory/apt.log"; fail "apt-get install $*"; }; }

# higher NUMBER: the same package with a higher version.
higher() {
    local tree=$directory/tree
    rm -rf "$tree"
    dpkg-deb --raw-extract "$deb" "$tree"
    sed -i "s/^Version: .*/&+upgrade$1/" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$tree" "$root/root/upgrade$1.deb" >/dev/null
}

page() { inside curl --silent --max-time 10 http://127.0.0.1/; }
is_page() { [ "$(page)" = "a page" ]; }

cp -a "$from" "$root"
rm -f "$root/etc/resolv.conf"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# Copies of a distribution that are not renewed any more will do.
once sh -c 'apt-get -q -o Acquire::Check-Valid-Until=false update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
    systemd systemd-sysv dbus python3 nginx-light curl man-db procps' >"$directory/apt.log" 2>&1 || { cat "$directory/apt.log"; exit 1; }
cp "$deb" "$root/root/first.deb"
higher 1
higher 2
higher 3
say "the system is there"

systemd-nspawn --quiet --register=no --keep-unit --private-network --directory "$root" --boot >"$directory/boot.log" 2>&1 </dev/null &
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
install_deb /root/first.deb
say "installed in $((($(date +%s%N) - start) / 1000000)) ms; $(inside wsgi-fpm --version)"
is wsgi-fpm.service inactive
[ "$(inside systemctl --failed --plain --no-legend | wc -l)" = "$failed_before" ] || fail "something failed"
[ "$(inside systemctl is-enabled wsgi-fpm.service)" = enabled ] || fail "it is not enabled"
inside id wsgi-fpm >/dev/null
inside man --where wsgi-fpm >/dev/null || fail "no manual page"
say "nothing runs, nothing has failed"

mkdir -p "$root/srv/example"
cat >"$root/srv/example/hello.py" <<'PY'
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a page\n"]
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
[ "$(inside stat -c '%U:%G %a' /run/wsgi-fpm/example.sock)" = "root:www-data 660" ] || fail "the socket is $(inside stat -c '%U:%G %a' /run/wsgi-fpm/example.sock)"
inside ps -o user=,args= -C wsgi-fpm,python3 | cut -c 1-110
main_pid() { inside systemctl show --property MainPID --value wsgi-fpm.service; }

# Two loops, a request each twentieth of a second: through nginx, and on a connection of its own.
inside cp --dereference /usr/bin/wsgi-fpm /root/asker
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
under_load "upgrade" install_deb /root/upgrade1.deb
[ "$(main_pid)" != "$before" ] || fail "the old program still runs"
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

before=$(main_pid)
echo 'thread = 1' >>"$root/etc/wsgi-fpm/pools.d/example.toml"
under_load "upgrade with a mistake in the file" install_deb /root/upgrade2.deb
grep "goes on with the old program" "$directory/apt.log" || fail "nothing is said of the mistake"
[ "$(main_pid)" = "$before" ] || fail "it was started again"
sed -i '$d' "$root/etc/wsgi-fpm/pools.d/example.toml"
under_load "reload, then restart, once it is mended" inside sh -c 'systemctl reload wsgi-fpm; systemctl restart wsgi-fpm'

# The template unit: another application, as a service of its own.
sed 's/mysite.wsgi:application/hello:application/' "$root/etc/wsgi-fpm/apps/example.toml.disabled" >"$root/etc/wsgi-fpm/apps/example.toml"
inside systemctl start wsgi-fpm@example
until_true "the template unit serves" inside /root/asker ping /run/wsgi-fpm-example/wsgi.sock /
before=$(inside systemctl show --property MainPID --value wsgi-fpm@example)
install_deb /root/upgrade3.deb
[ "$(inside systemctl show --property MainPID --value wsgi-fpm@example)" != "$before" ] || fail "the template unit was not started again"
until_true "the template unit serves" inside /root/asker ping /run/wsgi-fpm-example/wsgi.sock /
say "the template unit serves, also after an upgrade"

inside systemctl stop wsgi-fpm
[ "$(inside curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1/)" = 502 ] || fail "no 502 from a service that is stopped"
inside systemctl start wsgi-fpm
[ "$(page)" = "a page" ] || fail "no page after stop and start"
say "stopped: 502; started: a page"

inside apt-get -q -y remove wsgi-fpm >"$directory/apt.log" 2>&1 || { cat "$directory/apt.log"; fail "apt-get remove"; }
[ -z "$(inside pgrep -a wsgi-fpm || true)" ] || fail "something still runs"
[ -f "$root/etc/wsgi-fpm/pools.d/example.toml" ] || fail "remove has removed the pool"
install_deb /root/upgrade3.deb
until_true "the page is there again" is_page
say "removed, installed again: the pool is served"

inside apt-get -q -y purge wsgi-fpm >"$directory/apt.log" 2>&1 || { cat "$directory/apt.log"; fail "apt-get purge"; }
left=$(inside sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /root -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \) -prune -o -name "*wsgi[-_]fpm*" -print; ls -d /run/wsgi-fpm* 2>/dev/null || true')
[ -z "$left" ] || fail "purge leaves: $left"
[ "$(inside systemctl --failed --plain --no-legend | wc -l)" = "$failed_before" ] || fail "something failed"
say "purged: nothing is left"
