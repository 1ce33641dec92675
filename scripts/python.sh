# Sourced by boot.sh and test.sh: sets `python` to a Python 3.11 or later of this machine.
# TESTMESH_PYTHON names one that has the requirements already; then no environment is made.

python=""
for candidate in "${TESTMESH_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "testmesh needs Python 3.11 or later; install it, or name one in TESTMESH_PYTHON" >&2
    exit 2
fi

# Nodes install with uv, which reads SSL_CERT_FILE; pip reads PIP_CERT. Either name serves both.
if [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
if [ -n "${SSL_CERT_FILE:-}" ]; then export PIP_CERT="${PIP_CERT:-$SSL_CERT_FILE}"; fi

export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

# make_environment REQUIREMENTS: .venv with what that file locks; `python` is its interpreter from then on.
make_environment() {
    if [ -z "${TESTMESH_PYTHON:-}" ]; then
        "$python" -m testmesh.local.environment "$1"
        python=.venv/bin/python
    fi
}
