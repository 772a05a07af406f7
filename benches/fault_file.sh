#!/usr/bin/env bash
# What a `FaultFile` costs over the file in it, in instructions and in time: both measured in a build with
# the feature `faults` and in one without, for features unify within a build. Ends with the table of
# instructions over the bare file.
#
# Needs valgrind and `cargo install gungraun-runner` of the version in Cargo.lock. Pass
# `--instructions` to leave out the time.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

for features in '' --no-default-features; do
    cargo bench --quiet -p faultfs --bench fault_file_instructions $features | tee -a "$counts"
    if [ "${1:-}" != --instructions ]; then
        cargo bench --quiet -p faultfs --bench fault_file_medians $features
    fi
done

echo
echo 'instructions per call, over the bare file:'
awk '
    /^fault_file_instructions::/ {
        call = $1; sub(/.*::/, "", call)
        state = $2; sub(/:.*/, "", state)
    }
    /Instructions:/ {
        split($2, count, "|")
        if (state == "bare") { bare = count[1]; next }
        sub(/^partial_/, "", call)
        printf "%-14s %-12s %6.1f\n", call, state, (count[1] - bare) / 1000
    }
' "$counts"
