import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    pytest.importorskip("playwright", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    from tests.browser.chromium import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def pages(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of pages that need no mesh."""
    from tests.browser.chromium import synthetic_server

    with synthetic_server(tmp_path_factory.mktemp("synthetic")) as address:
        yield address


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """A folder to look at afterwards."""
    folder = ROOT / ".run" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def window(browser: "Browser") -> "Iterator[Callable[..., BrowserContext]]":
    """Makes windows; whatever a script complains of in one, or tries to ask, fails the test."""
    made: list[BrowserContext] = []
    complaints: list[str] = []

    def make(**options: Any) -> "BrowserContext":
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(30_000)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        context.on("dialog", lambda dialog: complaints.append(dialog.message))
        context.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()
    assert complaints == []
