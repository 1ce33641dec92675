#!/usr/bin/env bash
# Makes the environment and runs the whole suite. Arguments go to pytest: ./test.sh -k grading; -n0 runs one test at a
# time and shows what it prints (-s).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. scripts/python.sh
make_environment requirements-dev.txt || exit 2

# Where it is set, each of the many processes that tests start compiles all of its modules anew.
unset PYTHONDONTWRITEBYTECODE

failed=()
step() {
    echo "== $*"
    "$python" -m "$@" || failed+=("${*:1:2}")
}

# In an archive without .git, ruff does not know that the run folder is ignored.
step ruff check --extend-exclude .run .
step ruff format --check --extend-exclude .run .
step mypy
# -ra, among pytest's options in pyproject.toml, names what was skipped and why. tests/conftest.py says how many
# processes `auto` is, and how tests are spread over them.
step pytest -n auto "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
