#!/usr/bin/env bash
# pages.sh OUTDIR [PROGRAM]: writes the manual pages, and what bash, zsh and fish need to complete, into the folders that they have
# below PREFIX/share. The same program writes the same bytes. Debian's own packages have zsh's in zsh/vendor-completions.
set -euo pipefail

share=$1
program=${2:-${CARGO_TARGET_DIR:-target}/release/wsgi-fpm}

# Everybody reads them, whoever installs.
umask 022
"$program" man "$share/man"
while read -r shell file; do
    mkdir -p "$(dirname "$share/$file")"
    "$program" completions "$shell" >"$share/$file"
done <<'FILES'
bash bash-completion/completions/wsgi-fpm
zsh zsh/site-functions/_wsgi-fpm
fish fish/vendor_completions.d/wsgi-fpm.fish
FILES
