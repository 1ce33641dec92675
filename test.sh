#!/usr/bin/env bash
# Makes the environment and runs the whole suite. Arguments go to pytest: ./test.sh -k grading
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. scripts/python.sh
make_environment requirements-dev.txt || exit 2

failed=()
step() {
    echo "== $*"
    "$python" -m "$@" || failed+=("${*:1:2}")
}

# In an archive without .git, ruff does not know that the run folder is ignored.
step ruff check --extend-exclude .run .
step ruff format --check --extend-exclude .run .
step mypy
# -ra, among pytest's options in pyproject.toml, names what was skipped and why.
step pytest "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
