#!/usr/bin/env bash
# What a pass through a fail point costs, in instructions and in time: both measured in a build with
# fail points and in one without, for features unify within a build. Ends with the table of
# instructions over the bare loop.
#
# Needs valgrind and `cargo install gungraun-runner` of the version in Cargo.lock. Pass
# `--instructions` to leave out the time.
set -euo pipefail
cd "$(dirname "$0")/.."

counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

for features in '' 'foreign,fail-parallel/failpoints'; do
    cargo bench --quiet --bench points_instructions --features "$features" | tee -a "$counts"
    if [ "${1:-}" != --instructions ]; then
        cargo bench --quiet --bench points_time --features "$features"
    fi
done

echo
echo 'instructions per pass, over the bare loop:'
awk '
    /^points_instructions::/ {
        off = /::off::/
        library = $1; sub(/.*::/, "", library)
        state = $2; sub(/:.*/, "", state)
    }
    /Instructions:/ {
        split($2, count, "|")
        if (library == "bare") { bare = count[1]; next }
        if (off && state != "idle") next
        printf "%-14s %-20s %5.0f\n", library, off ? "off" : state, (count[1] - bare) / 1000
    }
' "$counts"
