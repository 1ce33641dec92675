"""The pages in a real browser, of evaluations that were never run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.synthetic import LARGE_ID, LIVE_ID, UNEVEN_ID

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    Window = Callable[..., BrowserContext]

NAMES = [
    "home",
    "evaluation",
    "module",
    "cohort",
    "nodes",
    "login",
    "missing",
    "hostile",
    "hostile-module",
    "paged",
    "cut-cohort",
]
# The cut cohort is the cohort's page with a hundred times as many cells, for which axe takes half a minute a mode.
FOR_AXE = [name for name in NAMES if name != "cut-cohort"]
# All rows of a table are made by the same lines of a template, and axe takes seconds for hundreds of them.
REMOVE_ROWS = "document.querySelectorAll('tbody tr:nth-child(n + 9)').forEach(row => row.remove())"
CELL = "a.cell[href*='group-003'][href*='test_booking.py']"


def opened(window: "Window", address: str, name: str, **options: object) -> "Page":
    from tests.browser.chromium import PAGES

    page = window(**options).new_page()
    page.goto(address + PAGES.get(name, name), wait_until="load")
    return page


@pytest.mark.parametrize("name", FOR_AXE)
def test_axe_finds_nothing_serious(window: "Window", pages: str, screenshots: Path, name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    page = opened(window, pages, name, color_scheme="dark")
    schemes: tuple[tuple[Literal["light", "dark"], dict[str, list[str]]], ...]
    schemes = ("dark", {"runOnly": ["color-contrast"]}), ("light", {})  # nothing but colours depends on it
    for scheme, _ in schemes:
        page.emulate_media(color_scheme=scheme)
        if name == "nodes":
            page.locator("#plots canvas").first.wait_for()
        page.screenshot(path=screenshots / f"{name}-{scheme}.png")
    page.evaluate(REMOVE_ROWS)
    grave = []
    for scheme, rules in schemes:
        page.emulate_media(color_scheme=scheme)
        result = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response
        assert result["passes"], "it has looked at something"
        grave += [
            (scheme, violation["id"], violation["help"], violation["nodes"][0]["html"][:200])
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
    assert grave == []


@pytest.mark.parametrize("name", NAMES)
def test_a_narrow_window_never_scrolls_sideways(window: "Window", pages: str, screenshots: Path, name: str) -> None:
    page = opened(window, pages, name, viewport={"width": 360, "height": 740})
    page.screenshot(path=screenshots / f"{name}-narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("name", ["hostile", "hostile-module", "home"])
def test_names_and_output_of_uploads_stay_text(window: "Window", pages: str, name: str) -> None:
    page = opened(window, pages, name)
    page.wait_for_load_state("networkidle")
    assert "owned" not in page.title()
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("Object.keys(Object.prototype).length") == 0


def test_dark_is_dark(window: "Window", pages: str) -> None:
    colours = {
        scheme: opened(window, pages, "home", color_scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
        )
        for scheme in ("light", "dark")
    }
    assert min(colours["light"]) > 200
    assert max(colours["dark"]) < 60


def test_the_keyboard_reaches_everything(window: "Window", pages: str) -> None:
    page = opened(window, pages, "evaluation")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    cell = page.locator("#matrix a.cell[tabindex='0']")
    assert cell.count() == 1, "the table is one stop of Tab"
    cell.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("tests/test_accounts1.py")
    assert page.evaluate("document.activeElement.closest('tr').dataset.project") == "group-002"
    page.keyboard.press("Control+End")
    page.keyboard.press("Enter")
    page.wait_for_url("**/module?*")
    assert "group-024" in page.url


def test_rows_are_found_and_sorted_without_asking_the_server(window: "Window", pages: str) -> None:
    page = opened(window, pages, f"/dashboard/evaluation/{LARGE_ID}")
    assert page.locator("#matrix a.cell").count() == 2000
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Find").fill("GROUP-01")
    assert page.locator("#matrix tbody tr:visible").count() == 10
    page.get_by_label("Find").fill("")
    page.get_by_label("Sort by").select_option("nota")
    grades = page.locator("#matrix tbody tr td:nth-child(2)").all_text_contents()
    known = [float(grade) for grade in grades if grade != "–"]
    assert known == sorted(known, reverse=True)
    page.get_by_label("failing only").check()
    assert 0 < page.locator("#matrix tbody tr:visible").count() <= 101
    assert asked == []


def test_only_cells_that_changed_are_touched(window: "Window", pages: str) -> None:
    """2000 cells; the events tell of one that changed and one that did not."""
    context = window()
    page = context.new_page()
    module = {"passed": 9, "failed": 1, "errors": 0, "skipped": 0, "verdict": "crashed", "detail": "", "time": 1.0}
    module |= {"cpu_time": 0.5, "started_at": None, "node": "n:1", "attempts": 1, "python": "3.12.4"}
    info = {"errors": 1, "%passed": 90.0, "%failed": 10.0, "nota": 18.0, "eval_time": 3.0, "eta": 7.5}
    info |= {"passed": 9, "failed": 1, "skipped": 0, "executed": 1, "running": 0, "pending": 1999}
    events = [
        ("module", {"module_results": {"group-003": {"tests/test_booking.py": module}}}),
        ("module", {"module_results": {"__proto__": {"polluted": module}}}),
        ("project", {"status": "running", "_run_info": info, "projects": {}}),
    ]
    body = "retry: 600000\n\n" + "".join(
        f"id: x.{number}\nevent: {kind}\ndata: {json.dumps(part)}\n\n" for number, (kind, part) in enumerate(events)
    )
    page.route("**/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => { window.touched = new Set();"
        "new MutationObserver((found) => found.forEach(({target}) => touched.add("
        "(target.closest ? target : target.parentElement).closest('td')?.innerHTML ?? '')))"
        ".observe(document.querySelector('#matrix tbody'), {subtree: true, childList: true, characterData: true,"
        " attributeFilter: ['class', 'title', 'aria-label']}); })"
    )
    page.goto(f"{pages}/dashboard/evaluation/{LIVE_ID}")
    page.locator(f"{CELL}.t-warn").wait_for()
    assert page.locator(CELL).get_attribute("aria-label") == "tests/test_booking.py: crashed, 9 of 10 passed"
    assert page.locator(CELL).text_content() == "!"
    assert page.locator("#nota").text_content() == "18.00"
    assert page.locator("#eta").text_content() == "7.50 s"
    touched = page.evaluate("[...touched].filter((cell) => cell.includes('<a'))")
    assert len(touched) == 1
    assert page.evaluate("({}).polluted === undefined")


def test_of_many_projects_a_page_is_there_and_the_server_finds_the_others(window: "Window", pages: str) -> None:
    page = opened(window, pages, "paged")
    rows = page.locator("#matrix tbody tr")
    first = rows.count()
    assert 0 < first < 901
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**page=2")
    assert page.locator("#shown").text_content() == f"{first + 1} to {2 * first} of 901 projects"
    page.get_by_label("Sort by").select_option("nota")
    page.wait_for_url("**sort=nota*")
    page.get_by_label("Find").fill("cheat")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**q=cheat*")
    assert rows.count() == 1
    assert "and 400 more" in (rows.text_content() or "")
    page.locator("#matrix a.cell[tabindex='0']").focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.closest('td').cellIndex") == 202


@pytest.mark.parametrize("more", [0, 1])
def test_a_page_that_cannot_have_all_is_asked_for_again_only_where_there_is_more(
    window: "Window", pages: str, more: int
) -> None:
    module: dict[str, object] = {
        "passed": 0,
        "failed": 1,
        "errors": 0,
        "skipped": 0,
        "verdict": "crashed",
        "detail": "",
        "time": 1.0,
    }
    module |= {"cpu_time": 0.5, "started_at": None, "node": "n:1", "attempts": 1, "python": "3.12.4"}
    names = {f"p{i}": ["test_a.py"] for i in range(900 + more)} | {"cheat": [f"test_{i}.py" for i in range(600)]}
    parts: list[dict[str, object]] = [
        {"module_results": {name: dict.fromkeys(paths, module)}} for name, paths in names.items()
    ]
    project = {"%passed": 0.0, "nota": 0.0, "status": "running", "detail": ""}
    info: dict[str, object] = {
        "errors": 0,
        "%passed": 0.0,
        "nota": 0.0,
        "eval_time": 3.0,
        "eta": 7.5,
        "passed": 0,
        "failed": 1,
    }
    info |= {"skipped": 0, "executed": 1500 + more, "running": 0, "pending": 0}
    told = [("module", part) for part in parts]
    told.append(("project", {"status": "running", "_run_info": info, "projects": dict.fromkeys(names, project)}))
    body = "retry: 600000\n\n" + "".join(f"event: {kind}\ndata: {json.dumps(part)}\n\n" for kind, part in told)
    page = window().new_page()
    page.clock.install()
    page.route("**/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    asked: list[str] = []
    path = f"{pages}/dashboard/evaluation/{UNEVEN_ID}"
    page.on("request", lambda request: asked.append(request.url) if request.url == path else None)
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/events")):
        page.goto(path)
    for _ in range(20):  # a frame takes but some of the modules
        page.clock.run_for(500)
    page.locator("tr[data-project=p0] a.cell.t-warn").wait_for()
    assert page.locator("#executed").text_content() == f"1\u202f{500 + more}"
    page.evaluate("fetch(location.pathname + '?q=last').then((answer) => answer.text())")
    assert len(asked) == 1 + more


def test_the_history_of_live_nodes_is_drawn(window: "Window", pages: str) -> None:
    page = opened(window, pages, "nodes")
    page.locator("#plots canvas").nth(2).wait_for()
    assert page.locator("#plots canvas").count() == 3
    assert page.locator("#plots [role=img]").first.get_attribute("aria-label")
    assert opened(window, pages, "nodes", java_script_enabled=False).locator("tbody tr").count() == 4
