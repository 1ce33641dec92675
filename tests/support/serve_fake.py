# ruff: noqa: E402 - a script that puts src on its path first
"""A real server in front of a FakeNode, as a process: `serve_fake.py FOLDER [fail|crash|hang]`.

Prints the port once it listens; what its node lives through is written to FOLDER/events, a line each.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])]

from testmesh.app.factory import create_app
from testmesh.app.server import serve
from testmesh.errors import SettingsError
from testmesh.settings import Settings
from tests.support.fake_node import FakeNode, add_finished

LARGE = 8 * 1024 * 1024
FOLDER, MODE = Path(sys.argv[1]), (sys.argv[2:] or [""])[0]


class Life:
    """What the server asks of the node, written down."""

    def start(self) -> None:
        note(f"start {os.getpid()}")
        if MODE == "fail":
            raise SettingsError("MESH_DATA_DIR=/nowhere: it cannot be written; choose another folder")

    def drain(self, timeout_s: float) -> None:
        note(f"drain {timeout_s}")

    def stop(self) -> None:
        note("stop")


def note(line: str) -> None:
    with (FOLDER / "events").open("a") as file:
        file.write(line + "\n")


def build() -> tuple[Life, Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]]:
    incoming = FOLDER / "incoming"
    incoming.mkdir(exist_ok=True)
    node = FakeNode(incoming, keep_content=False)
    add_finished(node)
    app = create_app(node, Settings(data_dir=FOLDER))

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/test/die":
            os._exit(7)
        if environ["PATH_INFO"] == "/test/hang":
            note("hanging")
            threading.Event().wait()
        if environ["PATH_INFO"] == "/test/large":
            start_response("200 OK", [("Content-Length", str(LARGE))])
            return [b"x" * LARGE]
        if environ["PATH_INFO"] == "/test/slow":
            note("slow")
            while "drain" not in (FOLDER / "events").read_text():
                time.sleep(0.01)
            environ["PATH_INFO"] = "/peers"
        return app.wsgi_app(environ, start_response)

    return Life(), wrapped


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - for the test that started it
    status = serve(Settings(data_dir=FOLDER), build, listener=listener, graceful_timeout_s=5)
    note(f"exit {status}")
    sys.exit(status)
