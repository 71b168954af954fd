#!/usr/bin/env bash
# package.sh VENV PROGRAM OUT [ENGINE [LICENCES]]: the deb and the rpm of PROGRAM in OUT. The same program makes the same bytes.
#
# VENV has nfpm (packaging/requirements.txt). ENGINE: engine-BUILDID.so of a program that has the same inside and is quicker with the
# file; any other name is that of the engine of a program that does not have it inside. LICENCES: those of dependencies, a file.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC

venv=$1
program=$2
out=$3
engine=${4:-}
licences=${5:-}

fail() {
    echo "wsgi-fpm: $*" >&2
    exit 1
}

# of KEY: what Cargo.toml says of the whole workspace; of a list, its one entry.
of() { sed -n '/^\[workspace.package\]/,/^\[/s/^'"$1"' = \[\?"\(.*\)"\]\?$/\1/p' Cargo.toml; }
version=$(of version)
[ -n "$version" ] || fail "Cargo.toml has no version"
maintainer=$(of authors)
[[ $maintainer == *\ \<*@*\> ]] || fail "Cargo.toml names nobody: authors = [\"Name <address>\"]"
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || fail "this is no clone: name the time of the release in SOURCE_DATE_EPOCH"
fi
export SOURCE_DATE_EPOCH
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# files ROOT: everything that the package has, below ROOT.
files() {
    local root=$1 doc=$1/usr/share/doc/wsgi-fpm
    install -D -m 755 "$program" "$root/usr/bin/wsgi-fpm"
    if [[ $engine == */engine-*.so ]]; then
        install -D -m 644 "$engine" "$root/usr/lib/wsgi-fpm/${engine##*/}"
    elif [ -n "$engine" ]; then
        install -d "$root/usr/lib/wsgi-fpm"
        mv "$root/usr/bin/wsgi-fpm" "$root/usr/lib/wsgi-fpm/"
        ln -s ../lib/wsgi-fpm/wsgi-fpm "$root/usr/bin/wsgi-fpm"
        install -m 644 "$engine" "$root/usr/lib/wsgi-fpm/libwsgi_fpm_engine.so"
    fi
    make --no-print-directory --silent install-share DESTDIR="$root" PREFIX=/usr
    packaging/files.sh "$root" /usr
    install -D -m 755 packaging/take-over.sh "$root/usr/lib/wsgi-fpm/take-over"
    scripts/pages.sh "$root/usr/share" "$program"
    find "$root/usr/share/man" -type f -exec gzip --no-name --best {} +
    install -d "$doc"
    install -m 644 README.md ${licences:+"$licences"} "$doc/"
    gzip --no-name --best <CHANGELOG.md >"$doc/changelog.gz"
}

# What Debian wants in other places.
debian() {
    local root=$1 doc=$1/usr/share/doc/wsgi-fpm
    install -d "$root/usr/share/zsh/vendor-completions"
    mv "$root/usr/share/zsh/site-functions/_wsgi-fpm" "$root/usr/share/zsh/vendor-completions/"
    rmdir "$root/usr/share/zsh/site-functions"
    python3 -c 'import sys; licence, text = (open(name).read() for name in sys.argv[1:]); print(text.replace("@mit@", "\n".join(" " + (line or ".") for line in licence.strip().splitlines())), end="")' \
        LICENSE-MIT packaging/copyright >"$doc/copyright"
    {
        echo "wsgi-fpm (${version/-/\~}-1) unstable; urgency=medium"
        echo
        echo "  * What has changed is in changelog.gz."
        echo
        echo " -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip --no-name --best >"$doc/changelog.Debian.gz"
}

# The web server's group has other names elsewhere, and a unit with a group that is missing doesn't start.
fedora() {
    sed -i 's/"www-data"/"nginx"/' "$1"/etc/wsgi-fpm/wsgi-fpm.toml
    sed -i '/^# The web server.s: lets it/d; /^SupplementaryGroups=www-data$/d' "$1/usr/lib/systemd/system/wsgi-fpm@.service"
    sed -i 's/^SocketGroup=www-data$/SocketGroup=nginx/' "$1"/usr/lib/systemd/system/wsgi-fpm*.socket
    sed -i 's/^listen_group = "www-data"$/listen_mode = "0666"/' "$1/etc/wsgi-fpm/apps/example.toml.disabled"
    install -m 644 LICENSE-APACHE LICENSE-MIT "$1/usr/share/doc/wsgi-fpm/"
}

mkdir -p "$out"
for packager in deb rpm; do
    root=$stage/$packager
    files "$root"
    if [ $packager = deb ]; then debian "$root"; else fedora "$root"; fi
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    STAGE=$root ARCH=$arch VERSION=$version MAINTAINER=$maintainer "$venv/bin/nfpm" package --config packaging/nfpm.yaml --packager $packager --target "$out/"
done
