"""A node as src/run_node.py starts it, that logs at debug whatever any library has to say."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import run_node
from testmesh import logs
from testmesh.settings import Settings


def loud(settings: Settings) -> None:
    logs.configure_logging(settings)
    logging.getLogger().setLevel(logging.DEBUG)
    for name in list(logging.getLogger().manager.loggerDict):
        logging.getLogger(name).setLevel(logging.DEBUG)


if __name__ == "__main__":
    vars(run_node)["configure_logging"] = loud
    sys.exit(run_node.main())
