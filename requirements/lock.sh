#!/bin/sh
# Write the four lock files: the whole closure with hashes, for Python 3.11 to 3.13 on Linux. Needs uv.
set -eu
cd "$(dirname "$0")/.."
lock() {
    target=$1
    shift
    # pip's local configuration would slip a machine's own builds into the closure.
    env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL uv pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-annotate --no-header "$@" pyproject.toml --output-file "requirements/$target.txt"
}
cpu="--override requirements/cpu-overrides.txt --no-emit-package torch --extra cpu --extra memory"
# shellcheck disable=SC2086
lock cpu $cpu
# shellcheck disable=SC2086
lock cpu-dev $cpu --extra train --extra ray --extra dev
lock cuda --extra cuda --extra memory
lock cuda-dev --extra cuda --extra memory --extra train --extra ray --extra dev
