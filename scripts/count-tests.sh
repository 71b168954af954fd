#!/usr/bin/env bash
# count-tests.sh COMMAND [ARGUMENT]...: runs it, then says what all test binaries that it has run come to, and which
# tests failed. Ends with the command's status, or with 1 if no test has run.
set -euo pipefail

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# Everything in one stream: cargo names the binary on the one, the binary its tests on the other.
"$@" 2>&1 | tee "$log" || status=$?

awk '
    # A binary that ends without its result has crashed, or was killed.
    function unfinished() { if (binary != "") lost[++crashed] = binary; binary = "" }
    /^ *(Running|Doc-tests) / {
        unfinished()
        binary = $0
        sub(/^ *(Running )?(unittests )?/, "", binary)
        sub(/ \(.*/, "", binary)
    }
    # The second form is that of --quiet.
    /^test .* \.\.\. FAILED$/ || /^[^ ]+ --- FAILED$/ {
        name = $0
        sub(/^test /, "", name)
        sub(/ (\.\.\.|---) FAILED$/, "", name)
        names[++named] = binary ": " name
    }
    /^test result:/ { passed += $4; failed += $6; ignored += $8; results++; binary = "" }
    END {
        unfinished()
        print ""
        for (i = 1; i <= named; i++) print "failed: " names[i]
        for (i = 1; i <= crashed; i++) print "ended in the middle: " lost[i]
        if (!results) { print "no test has run"; exit 1 }
        printf "tests: %d passed, %d failed, %d ignored\n", passed, failed, ignored
    }
' "$log" || [ "$status" -ne 0 ] || status=1
exit "$status"
