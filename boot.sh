#!/usr/bin/env bash
# Starts a mesh on this machine: four nodes and Nginx in front of them, as containers or as processes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: ./boot.sh [--docker | --local] [--port N] [--nodes N] [--first-port N] [--fresh] [--demo]
       ./boot.sh --down

Stops what an earlier boot.sh of this folder left, starts the nodes and Nginx, waits until they are healthy
and prints their addresses. With Docker they are containers (their data in its volumes), else processes (data
and logs in .run/).

  --demo           then submit examples/, show progress and check every grade
  --down           stop it all
  --fresh          forget the data of earlier runs
  --local          processes, even where there is Docker
  --docker         containers, or nothing
  --port N         where the mesh is entered (80, or 8080 where 80 is not to be had)
  --nodes N        so many nodes (4; local only)
  --first-port N   the first node's port, the others' follow (5001; local only)
TEXT
}

mode=auto
down=no
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --docker | --local) mode=${1#--} ;;
        --down) down=yes; arguments+=("$1") ;;
        --demo | --fresh) arguments+=("$1") ;;
        --port | --nodes | --first-port)
            [ $# -ge 2 ] || { echo "boot.sh: $1 needs a number" >&2; exit 2; }
            arguments+=("$1" "$2")
            shift
            ;;
        --port=* | --nodes=* | --first-port=*) arguments+=("$1") ;;
        *) echo "boot.sh: $1 is not an option" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

. scripts/python.sh
if [ "$down" = no ]; then
    make_environment requirements.txt
    HOST_REAL_IP=${HOST_REAL_IP:-$("$python" -m testmesh.local.address)}
    export HOST_REAL_IP
fi
exec "$python" -m testmesh.local --mode "$mode" ${arguments[@]+"${arguments[@]}"}
