#!/usr/bin/env bash
# dist.sh VENV: makes in dist/ what a release consists of. Whoever builds the same commit gets the same bytes, in whatever folder.
#
# VENV has zig, which links against the symbols of an older C library than this machine's (scripts/dist-requirements.txt), and nfpm, which makes packages.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

venv=$1
# The oldest C library that the program runs with: that of Debian 10 and of enterprise distributions of that age.
glibc=2.28
target=$(uname -m)-unknown-linux-gnu
out=$PWD/dist
work=$out/work

fail() {
    echo "wsgi-fpm: $*" >&2
    exit 1
}

# Sets what has to be the same everywhere: times, languages, and the paths that a compiler writes down.
same_everywhere() {
    export LC_ALL=C TZ=UTC
    if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
        SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || fail "this is no clone: name the time of the release in SOURCE_DATE_EPOCH"
    fi
    export SOURCE_DATE_EPOCH
    # Nobody's flags but these. The separator may stand in no path.
    unset RUSTFLAGS
    local built=${CARGO_TARGET_DIR:-target} separator=$'\x1f'
    local flags=(
        # The last one that fits counts, and what is built may lie in the source.
        "--remap-path-prefix=$PWD=/source"
        "--remap-path-prefix=$(realpath -m "$built")=/build"
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        # By which a debugger finds the debug file.
        -C link-arg=-Wl,--build-id=sha1
    )
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$separator; printf '%s' "${flags[*]}")
    export CARGO_ENCODED_RUSTFLAGS CARGO_INCREMENTAL=0
}

# build PROFILE ARGUMENT...: by cargo's rustc, for `target` and `glibc`.
build() {
    local profile=$1
    shift
    PATH=$venv/bin:$PATH cargo-zigbuild rustc --quiet --locked --profile "$profile" --target "$target.$glibc" "$@"
}

build_id() {
    local id
    id=$(readelf -n "$1" | sed -n 's/^ *Build ID: //p')
    [ -n "$id" ] || fail "$1 has no build id"
    echo "$id"
}

# stripped FILE TO: FILE without what only a debugger needs, which goes into $work/debug under the build id.
stripped() {
    local file=$1 to=$2 id
    id=$(build_id "$file")
    local debug=$work/debug/.build-id/${id:0:2}/${id:2}.debug
    mkdir -p "$(dirname "$debug")"
    objcopy --only-keep-debug "$file" "$debug"
    chmod 644 "$debug"
    objcopy --strip-all "$file" "$to"
}

# The one file: $work/wsgi-fpm, with the engine inside. $engine is the same engine as a file: where that is installed in
# ../lib/wsgi-fpm, the program takes it from there, which is quicker.
program() {
    local built=${CARGO_TARGET_DIR:-target}/$target id unwinder
    # A thread that Python ends is unwound by libgcc_s, through frames of the engine: those must not ask another unwinder. zig would
    # put its own into engine and program, with the path of its source in the debug file.
    unwinder=(-C link-arg="$(cc -print-file-name=libgcc_s.so.1)")
    # What this machine's asks of its newer C library the other one's doesn't.
    unwinder+=(-C link-arg=-Wl,--allow-shlib-undefined)
    build dist -p engine --lib -- "${unwinder[@]}"
    id=$(build_id "$built/dist/libwsgi_fpm_engine.so")
    engine=$work/engine-$id.so
    stripped "$built/dist/libwsgi_fpm_engine.so" "$engine"
    WSGI_FPM_EMBED_ENGINE=$engine WSGI_FPM_EMBED_ENGINE_ID=$id \
        build dist-program -p wsgi-fpm --bin wsgi-fpm --features embedded-engine -- "${unwinder[@]}"
    stripped "$built/dist-program/wsgi-fpm" "$work/wsgi-fpm"
}

# What is inside the program besides our source: $work/LICENSES-OF-DEPENDENCIES.
licences() {
    "$venv/bin/python" scripts/licences.py "$target" >"$work/LICENSES-OF-DEPENDENCIES"
}

# pack NAME: the folder $work/NAME as dist/NAME.tar.gz.
pack() {
    tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu \
        --mtime="@$SOURCE_DATE_EPOCH" "$1" | gzip --no-name --best >"$out/$1.tar.gz"
}

# What goes anywhere: tar --directory /usr/local --strip-components 1 --extract --file ...
tarball() {
    local name=wsgi-fpm-$version-${target%%-*}-linux
    mkdir -p "$work/$name/bin" "$work/$name/lib/wsgi-fpm" "$work/$name/share/doc/wsgi-fpm"
    install -m 755 "$work/wsgi-fpm" "$work/$name/bin/"
    install -m 644 "$engine" "$work/$name/lib/wsgi-fpm/"
    make --no-print-directory --silent install-share DESTDIR="$work/$name" PREFIX=
    scripts/pages.sh "$work/$name/share" "$work/wsgi-fpm"
    install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$work/LICENSES-OF-DEPENDENCIES" "$work/$name/share/doc/wsgi-fpm/"
    pack "$name"
}

# For gdb: tar --directory /usr/lib/debug --strip-components 1 --extract --file ...
debug_tarball() {
    local name=wsgi-fpm-$version-${target%%-*}-linux-debug
    mv "$work/debug" "$work/$name"
    pack "$name"
}

# For pip: the same program, and the same engine beside it.
wheel() {
    "$venv/bin/python" python/backend.py "$out" --platform "manylinux_${glibc/./_}_${target%%-*}" \
        --program "$work/wsgi-fpm" --engine "$engine" --licences "$work/LICENSES-OF-DEPENDENCIES"
}

# For pip where Rust is.
sdist() {
    "$venv/bin/python" python/backend.py "$out"
}

checksums() {
    (cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs -r sha256sum >SHA256SUMS)
}

for tool in objcopy readelf; do
    command -v $tool >/dev/null || fail "$tool is missing: apt-get install binutils"
done
version=$(cargo metadata --format-version 1 --no-deps --locked |
    "$venv/bin/python" -c 'import json, sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "wsgi-fpm"))')
same_everywhere
rm -rf "$out"
mkdir -p "$work"
program
licences
tarball
debug_tarball
wheel
sdist
scripts/package.sh "$venv" "$work/wsgi-fpm" "$out" "$engine" "$work/LICENSES-OF-DEPENDENCIES"
checksums
rm -rf "$work"
cat "$out/SHA256SUMS"
