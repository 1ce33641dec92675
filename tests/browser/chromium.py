"""Debian's chromium driven by playwright, and a server of pages that need no mesh."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from testmesh.app.factory import create_app
from testmesh.settings import Settings
from tests.browser.synthetic import CLASS_ID, HOSTILE, HOSTILE_ID, UNEVEN_ID, wide_node

PROGRAM = shutil.which("chromium")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_CLASS = f"/dashboard/evaluation/{CLASS_ID}"
PAGES = {
    "home": "/",
    "evaluation": _CLASS,
    "module": f"{_CLASS}/module?project=group-002&module=tests%2Ftest_delivery.py",
    "cohort": f"{_CLASS}/cohort",
    "paged": f"/dashboard/evaluation/{UNEVEN_ID}",
    "cut-cohort": f"/dashboard/evaluation/{UNEVEN_ID}/cohort",
    "nodes": "/dashboard/nodes",
    "login": "/dashboard/login?failed=1",
    "missing": "/dashboard/nothing",
    "hostile": f"/dashboard/evaluation/{HOSTILE_ID}",
    "hostile-module": f"/dashboard/evaluation/{HOSTILE_ID}/module"
    f"?project={quote(HOSTILE, safe='')}&module=tests%2Ftest_plain.py",
}


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        pass


@contextmanager
def synthetic_server(folder: Path) -> Iterator[str]:
    """The address of `wide_node`'s pages."""
    app = create_app(wide_node(folder), Settings(data_dir=folder))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
