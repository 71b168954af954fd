#!/usr/bin/env bash
# mutants.sh [CRATE [OPTION]...]: changes the leaf crates (or one of them) in one place after another and runs the crate's
# own tests each time. Says how many changes they noticed and which they did not, and fails where those are more than a
# crate may have. Options go to cargo-mutants, such as --file crates/contract/src/log/text.rs or --iterate; then only a
# part is changed, and nothing fails.
set -euo pipefail

# Its names for mutants stand in .cargo/mutants.toml: another version may have others.
version=27.1.0
[ "$(cargo mutants --version 2>/dev/null)" = "cargo-mutants $version" ] ||
    cargo install --locked cargo-mutants --version "$version"

# Each copy of the sources is built in a directory of its own.
unset CARGO_TARGET_DIR

# At least so many in a hundred.
declare -A goals=([fastcgi]=98 [settings]=93 [contract]=93)
crates=(fastcgi settings contract)
if [ $# -gt 0 ]; then
    [ -n "${goals[$1]:-}" ] || { echo "mutants.sh: $1 is none of ${crates[*]}" >&2; exit 2; }
    crates=("$1")
    shift
fi

failed=0
summary=()
for crate in "${crates[@]}"; do
    out=target/mutated/$crate
    mkdir -p "$out"
    # 2: it has missed some, 3: some ran out of time; whether that is too many is said below.
    status=0
    cargo mutants --package "$crate" --output "$out" "$@" || status=$?
    case $status in
        0 | 2 | 3) ;;
        *) exit "$status" ;;
    esac
    count() { wc -l <"$out/mutants.out/$1.txt"; }
    # Tests that never end are noticed by everybody.
    caught=$(($(count caught) + $(count timeout)))
    missed=$(count missed)
    goal=${goals[$crate]}
    line="$crate: $caught caught, $missed missed, $(count unviable) can't be built"
    if [ $# -eq 0 ] && [ $((100 * caught)) -lt $((goal * (caught + missed))) ]; then
        line+="; at least $goal % have to be caught"
        failed=1
    fi
    summary+=("$line")
done
printf '%s\n' "${summary[@]}"
exit "$failed"
