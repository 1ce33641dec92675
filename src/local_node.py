"""One ad hoc node: `python src/local_node.py --process 5001` (its usage says more)."""

import sys
from pathlib import Path

from testmesh.local.ad_hoc import run_node

if __name__ == "__main__":
    run_node(Path(__file__).resolve().parent.parent, sys.argv[1:])
