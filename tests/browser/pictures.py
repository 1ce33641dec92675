"""Pictures of the dashboard for the README: `python -m tests.browser.pictures [FOLDER]`, by default docs/img.

Of an evaluation that was never run, so that they are the same each time; `--jank` tells instead how long the page of
100 projects x 20 modules keeps a browser busy.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.chromium import PAGES, chromium, synthetic_server
from tests.browser.synthetic import LARGE_ID, LIVE_ID

FOLDER = Path(__file__).parents[2] / "docs" / "img"
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
PICTURES: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("dashboard-evaluation", "evaluation", "light", WIDE),
    ("dashboard-evaluation-dark", "evaluation", "dark", WIDE),
    ("dashboard-module", "module", "light", WIDE),
    ("dashboard-cohort", "cohort", "light", WIDE),
    ("dashboard-nodes", "nodes", "dark", WIDE),
    ("dashboard-narrow", "evaluation", "light", NARROW),
)
_LONG = (
    "window.long = []; new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration)))"
    ".observe({ type: 'longtask', buffered: true });"
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    arguments.add_argument("--jank", action="store_true", help="measure, and take no pictures")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as data, synthetic_server(Path(data)) as address, chromium() as browser:
        if given.jank:
            measure(browser, address)
        else:
            take(browser, address, given.folder)


def take(browser: Browser, address: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page_name, scheme, size in PICTURES:
        options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "timezone_id": "UTC", "locale": "en-GB"}
        page = browser.new_page(**options)
        page.goto(address + PAGES[page_name], wait_until="networkidle")
        page.screenshot(path=folder / f"{name}.png")
        page.close()
        print(folder / f"{name}.png", (folder / f"{name}.png").stat().st_size, "bytes")  # noqa: T201


def measure(browser: Browser, address: str) -> None:
    """Tasks of over 50 ms, as the browser reports them: while the page loads, is sorted, and takes 2000 changes."""
    page = browser.new_page()
    page.add_init_script(_LONG)
    page.goto(f"{address}/dashboard/evaluation/{LARGE_ID}", wait_until="networkidle")
    tell(page, "load, 100 x 20")
    page.get_by_label("Sort by").select_option("nota")
    page.wait_for_timeout(500)
    tell(page, "sort")
    page.route("**/events", lambda route: route.fulfill(body=events(), content_type="text/event-stream"))
    page.goto(f"{address}/dashboard/evaluation/{LIVE_ID}", wait_until="networkidle")
    page.wait_for_timeout(1000)
    tell(page, "load, then 2000 events at once")


def events() -> str:
    """Every module at once."""
    module = {"passed": 9, "failed": 1, "errors": 0, "skipped": 0, "verdict": "failed", "detail": "", "time": 1.0}
    module |= {"cpu_time": 0.5, "started_at": "2026-11-21T19:05:01.000Z", "node": "n:1", "attempts": 1, "python": ""}
    topics = (
        "accounts",
        "booking",
        "calendar",
        "delivery",
        "events",
        "filters",
        "groups",
        "history",
        "images",
        "journal",
    )
    parts = (
        {
            "module_results": {
                f"group-{project:03}": {f"tests/test_{topics[number % 10]}{number // 10 or ''}.py": module}
            }
        }
        for project in range(1, 101)
        for number in range(20)
    )
    return "retry: 600000\n\n" + "".join(f"event: module\ndata: {json.dumps(part)}\n\n" for part in parts)


def tell(page: Page, what: str) -> None:
    durations = page.evaluate("window.long.splice(0)")
    print(f"{what}: {len(durations)} long tasks, the longest {max(durations, default=0):.0f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
