"""One node in the foreground, set up by MESH_ variables alone. SIGTERM drains, then stops."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # runs without an install

from testmesh.app.server import serve
from testmesh.assembly import build_node
from testmesh.errors import SettingsError
from testmesh.logs import configure_logging
from testmesh.settings import settings_from


def main() -> int:
    try:
        settings = settings_from(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"testmesh: {error.detail}\n")
        return 2
    configure_logging(settings)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    return serve(settings, lambda: build_node(settings, environ))


def leave(status: int) -> NoReturn:
    """End at once: to free all that it holds takes an interpreter a quarter of a second, for nothing."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
