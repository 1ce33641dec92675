"""A mesh of processes on this machine: what boot.sh and local_node.py do, with nothing but the standard library."""
