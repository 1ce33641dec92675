"""The pages as they are sent: escaped, protected, complete without any script."""

import html
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from testmesh.app.factory import create_app
from testmesh.errors import NothingToTestError, QueueFullError
from testmesh.model import TestResult
from testmesh.node.document import document
from testmesh.node.service import ModuleTests
from testmesh.settings import Settings
from tests.browser.synthetic import HOSTILE, HOSTILE_ID, SCRIPT, add_hostile, add_large, add_uneven
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished

PAGE = f"/dashboard/evaluation/{KNOWN_ID}"
HOSTILE_MODULE = (
    f"/dashboard/evaluation/{HOSTILE_ID}/module?project={quote(HOSTILE, safe='')}&module=tests/test_plain.py"
)


@pytest.fixture(autouse=True)
def _evaluations(node: FakeNode) -> None:
    add_finished(node)
    add_hostile(node)


class _Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


PAGES = [
    "/",
    PAGE,
    f"{PAGE}/module?project=project-a&module=tests/test_b.py",
    f"{PAGE}/cohort",
    f"/dashboard/evaluation/{HOSTILE_ID}",
    f"/dashboard/evaluation/{HOSTILE_ID}/cohort",
    HOSTILE_MODULE,
    "/dashboard/nodes",
    "/dashboard/login",
    "/dashboard/nothing",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_inline_script_or_style_and_is_protected(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.content_type == "text/html; charset=utf-8"
    for tag, attributes in _Outline(answer.text).tags:
        assert tag not in ("style", "iframe", "base", "img")
        assert tag != "script" or (attributes.get("src") or "").startswith("/dashboard/static/")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), "only this address"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_a_title_one_main_and_headings_in_order(client: FlaskClient, path: str) -> None:
    tags = [tag for tag, _ in _Outline(client.get(path).text).tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    head = tags[: tags.index("body")]  # drawings have titles too
    assert (head.count("title"), tags.count("main"), levels.count(1), levels[0]) == (1, 1, 1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_names_and_output_of_uploads_are_text(client: FlaskClient) -> None:
    page = client.get(HOSTILE_MODULE).text
    assert SCRIPT not in page
    assert html.escape(SCRIPT, quote=False).replace("'", "&#39;") in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    listed = client.get(f"/dashboard/evaluation/{HOSTILE_ID}").text
    assert "<img" not in listed
    assert "\u202e" not in _without_values(listed)


def _without_values(page: str) -> str:
    """What is shown; values that are sent back, and never shown, stay as they are."""
    return re.sub(r'(value|data-project)="[^"]*"', "", page)


def test_every_cell_of_the_matrix_leads_to_its_module(client: FlaskClient) -> None:
    found = _Outline(client.get(f"/dashboard/evaluation/{HOSTILE_ID}").text).tags
    cells = [a["href"] or "" for tag, a in found if tag == "a" and "cell" in (a.get("class") or "")]
    assert len(cells) == 21
    assert {client.get(href).status_code for href in cells} == {200}


def test_everything_is_there_without_a_script(client: FlaskClient) -> None:
    page = client.get(PAGE).text
    for told in ("17.50", "87.5 %", "project-a", "7/8", "tests/test_b.py: failed, 3 of 4 passed", "results.csv"):
        assert told in page
    module = client.get(f"{PAGE}/module?project=project-a&module=tests/test_b.py").text
    for told in ("assert 1 == 2", "test_two", "3.11.7", "some of its tests failed"):
        assert told in module


def test_finding_and_sorting_work_without_a_script(client: FlaskClient, node: FakeNode) -> None:
    large = add_large(node, projects=5, modules=4)
    page = client.get(f"/dashboard/evaluation/{large}?q=group-002&sort=nota").text
    rows = [a for tag, a in _Outline(page).tags if tag == "tr" and "data-project" in a]
    assert [row["data-project"] for row in rows if "hidden" not in row] == ["group-002"]
    notas = [float(row["data-nota"] or 0) for row in rows]
    assert notas == sorted(notas, reverse=True)


def test_an_evaluation_that_is_wide_and_long_makes_no_large_page(client: FlaskClient, node: FakeNode) -> None:
    """One project of many modules, and many projects of one."""
    wide = add_uneven(node, 1000, 1000)
    answer = client.get(f"/dashboard/evaluation/{wide}")
    assert len(answer.data) < 1_500_000
    assert "and 800 more" in answer.text
    seen: set[str] = set()
    path: str | None = f"/dashboard/evaluation/{wide}"
    while path:
        outline = _Outline(client.get(path).text).tags
        rows = {a["data-project"] or "" for tag, a in outline if tag == "tr" and "data-project" in a}
        assert rows
        assert not rows & seen
        seen |= rows
        path = next((a["href"] for tag, a in outline if tag == "a" and a.get("rel") == "next"), None)
    assert len(seen) == 1001
    found = client.get(f"/dashboard/evaluation/{wide}?q=p99&page=7").text
    assert found.count("<tr data-project=") == 11
    assert "No project is found by this" in client.get(f"/dashboard/evaluation/{wide}?q=nobody").text


def test_very_many_tests_make_no_large_page(client: FlaskClient, node: FakeNode) -> None:
    wide = add_uneven(node, 5, 1)
    tests = tuple(TestResult(f"test[{i}]", "failed" if i == 19_999 else "passed") for i in range(20_000))
    node.results[wide] = [ModuleTests(f"p{i}", "test_a.py", tests) for i in range(5)]
    cohort = client.get(f"/dashboard/evaluation/{wide}/cohort")
    assert len(cohort.data) < 500_000
    assert "19\u202f500 more" in cohort.text
    module = client.get(f"/dashboard/evaluation/{wide}/module?project=p1&module=test_a.py")
    assert len(module.data) < 1_000_000
    assert module.text.index("test[19999]") < module.text.index("test[0]")
    assert "19\u202f000 more" in module.text


def test_tests_are_not_read_for_a_module_that_is_not_there(
    client: FlaskClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def tests(*of: object) -> list[ModuleTests]:
        asked.append(of)
        return []

    monkeypatch.setattr(node, "tests", tests)
    for query in ("", "?project=project-a", "?module=tests/test_b.py", "?project=x&module=y", "?project=&module="):
        assert client.get(f"{PAGE}/module{query}").status_code == 404
    assert asked == []


def test_the_list_tells_how_far_evaluations_are_and_makes_no_document_of_them(
    client: FlaskClient, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = add_large(node, projects=100, modules=20, over=False)
    info = document(node.evaluation(running), 0)["_run_info"]
    monkeypatch.delattr(FakeNode, "evaluation")
    told = re.search(r'height="8"/></svg> ([^<]*)</td>', client.get("/").text)
    assert told
    assert told[1] == f"{info['executed']:,}/2,000".replace(",", "\u202f")
    assert 0 < info["executed"] < 2000


def test_the_list_goes_on_behind_its_first_page(client: FlaskClient, node: FakeNode) -> None:
    for _ in range(60):
        node.submit_repositories(["https://github.com/o/r"], None, _options(), None, "")
    first = client.get("/").text
    link = re.search(r'href="(/\?after=[^"]+)" rel="next"', first)
    assert link
    second = client.get(link[1]).text
    ids = [re.findall(r'<tr data-id="([^"]+)"', page) for page in (first, second)]
    assert (len(ids[0]), len(ids[1])) == (50, 12)
    assert not set(ids[0]) & set(ids[1])


def _options() -> Any:
    from testmesh.model import Options

    return Options()


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/nothing",
        "/dashboard/evaluation/x",
        "/?after=x",
        f"{PAGE}/module?project=a&module=b",
        f"{PAGE}/module",
    ],
)
def test_what_is_not_there_is_a_page_with_a_sentence(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (404, "text/html; charset=utf-8")
    assert "There is nothing here" in answer.text


def test_the_apis_errors_stay_problems(client: FlaskClient) -> None:
    for path in ("/nothing", "/evaluation/x"):
        assert client.get(path).content_type == "application/problem+json"


# Files --------------------------------------------------------------------------------------


def test_files_may_be_kept_for_good_by_their_version_and_not_by_another(client: FlaskClient) -> None:
    found = re.search(r'href="(/dashboard/static/([0-9a-f]+)/app\.css)"', client.get("/").text)
    assert found
    answer = client.get(found[1])
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.content_type == "text/css; charset=utf-8"
    again = client.get(found[1], headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get(found[1].replace(found[2], "0" * 16))
    assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", PAGES)
def test_every_file_that_a_page_names_is_there(client: FlaskClient, path: str) -> None:
    outline = _Outline(client.get(path).text)
    files = [a.get("src") or a.get("href") or "" for tag, a in outline.tags if tag in ("script", "link")]
    assert files
    for file in files:
        answer = client.get(file)
        assert answer.status_code == 200
        for imported in re.findall(r'from "\./([\w.]+)"', answer.text):
            assert client.get(f"{file.rpartition('/')[0]}/{imported}").status_code == 200


@pytest.mark.parametrize("name", ["../routes.py", "nothing.js", "..%2froutes.py", "", "vendor/"])
def test_no_other_file_can_be_had(client: FlaskClient, name: str) -> None:
    assert client.get(f"/dashboard/static/x/{name}").status_code == 404


def test_the_licence_of_what_was_not_written_here_is_with_it(client: FlaskClient) -> None:
    assert "Permission is hereby granted" in client.get("/dashboard/static/x/vendor/uplot-LICENSE.txt").text


# Forms --------------------------------------------------------------------------------------


def send(client: FlaskClient, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
    """As a browser does: what was left empty is there too."""
    nothing = (io.BytesIO(b""), "")
    whole = {"file": nothing, "tests": nothing, "urls": "", "auth_token": "", "module_timeout_s": "", "services": ""}
    return client.post("/dashboard/submit", data={**whole, **fields}, headers=headers, buffered=True)


def test_a_form_with_a_zip_leads_to_its_evaluation(client: FlaskClient, node: FakeNode, incoming: Path) -> None:
    answer = send(
        client, file=(io.BytesIO(b"zip"), "class.zip"), tests=(io.BytesIO(b"staff"), "t.zip"), module_timeout_s="30"
    )
    (taken,) = node.submissions
    assert (taken.name, taken.content, taken.tests, taken.options.module_timeout_s) == ("class", b"zip", b"staff", 30)
    assert answer.status_code == 303
    assert client.get(answer.headers["Location"]).status_code == 200
    assert list(incoming.iterdir()) == [] or node.keep_content


def test_a_form_with_addresses_leads_to_its_evaluation(client: FlaskClient, node: FakeNode) -> None:
    urls = "https://github.com/o/one\r\n\r\n https://github.com/o/two "
    services = '[{"command": "python3 s.py", "ready": {"port": 5000}}]'
    answer = send(client, urls=urls, auth_token="a-token", services=services)
    (taken,) = node.submissions
    assert answer.status_code == 303
    assert taken.urls == ("https://github.com/o/one", "https://github.com/o/two")
    assert taken.token == "a-token"
    assert taken.options.services is not None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Choose a zip"),
        ({"urls": "https://example.org/x"}, "github.com"),
        ({"urls": "https://github.com/o/r", "services": "nonsense"}, "JSON list"),
        ({"urls": "https://github.com/o/r", "services": '[{"comand": "x"}]'}, "services"),
        ({"urls": "https://github.com/o/r", "module_timeout_s": "many"}, "number of seconds"),
        ({"urls": "https://github.com/o/r", "module_timeout_s": "nan"}, "number of seconds"),
        ({"urls": "https://github.com/o/r", "file": (io.BytesIO(b"x"), "a.zip")}, "not both"),
        ({"urls": "https://github.com/o/r", "tests": (io.BytesIO(b"x"), "a.zip")}, "Staff tests"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_is_told_beside_the_form_which_keeps_what_was_written(
    client: FlaskClient, node: FakeNode, incoming: Path, fields: dict[str, Any], told: str
) -> None:
    fields = {
        name: (io.BytesIO(b"x"), value[1]) if isinstance(value, tuple) else value for name, value in fields.items()
    }
    answer = send(client, auth_token="secret-token", **fields)
    assert answer.status_code == 400
    assert re.search(rf'role="alert">[^<]*{re.escape(told)}', answer.text)
    assert "secret-token" not in answer.text
    assert node.submissions == []
    assert list(incoming.iterdir()) == []
    assert html.escape(fields.get("services", "")).replace("&quot;", "&#34;") in answer.text


def test_what_the_node_refuses_is_told_beside_the_form(client: FlaskClient, node: FakeNode, incoming: Path) -> None:
    node.refusal = NothingToTestError("There is no test in it.")
    answer = send(client, file=(io.BytesIO(b"zip"), "<b>.zip"))
    assert (answer.status_code, "There is no test in it." in answer.text) == (422, True)
    node.admission = QueueFullError("Too many wait; come back.", 5)
    assert send(client, file=(io.BytesIO(b"zip"), "a.zip")).status_code == 429
    assert list(incoming.iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_no_page_of_another_address_can_send_a_form(
    client: FlaskClient, node: FakeNode, headers: dict[str, str]
) -> None:
    known = len(node.views)
    for path in ("/dashboard/submit", f"{PAGE}/rerun", f"{PAGE}/cancel"):
        assert client.post(path, headers=headers, data={"urls": "https://github.com/o/r"}).status_code == 401
    assert len(node.views) == known
    here = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert send(client, here, urls="https://github.com/o/r").status_code == 303


def test_running_again_leads_to_the_new_evaluation(client: FlaskClient, node: FakeNode) -> None:
    for project in ("", "project-a"):
        answer = client.post(f"{PAGE}/rerun", data={"project": project})
        assert answer.status_code == 303
        assert answer.headers["Location"] != PAGE
    unknown = client.post(f"{PAGE}/rerun", data={"project": HOSTILE})
    assert (unknown.status_code, "<img" in unknown.text) == (404, False)


def test_what_has_ended_cannot_be_cancelled(client: FlaskClient) -> None:
    answer = client.post(f"{PAGE}/cancel")
    assert (answer.status_code, "That is not possible now" in answer.text) == (409, True)


# Tokens -------------------------------------------------------------------------------------


@pytest.fixture
def guarded(node: FakeNode, tmp_path: Path) -> FlaskClient:
    return create_app(node, Settings(data_dir=tmp_path, api_token="api-token", read_token="read-token")).test_client()


@pytest.mark.parametrize(
    "path", ["/", PAGE, f"{PAGE}/cohort", f"{PAGE}/module?project=project-a&module=tests/test_b.py"]
)
def test_pages_of_evaluations_lead_to_the_form_for_a_token(guarded: FlaskClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 303
    assert "17.50" not in answer.text
    form = guarded.get(answer.headers["Location"])
    assert form.status_code == 200
    assert f'name="next" value="{html.escape(path)}"' in form.text
    guarded.post("/dashboard/login", data={"token": "read-token", "next": path})
    assert guarded.get(path).status_code == 200


def test_who_may_only_read_sees_no_forms_that_would_fail(guarded: FlaskClient) -> None:
    guarded.post("/dashboard/login", data={"token": "read-token"})
    page = guarded.get(PAGE).text
    assert "Run again" not in page
    assert "Sign in to run again" in page
    assert 'id="submit"' not in guarded.get("/").text
    answer = guarded.post(f"{PAGE}/rerun", headers={"Origin": "http://localhost"})
    assert (answer.status_code, 'name="token"' in answer.text) == (401, True)


def test_who_may_only_submit_is_shown_no_evaluations_beside_a_mistake(node: FakeNode, tmp_path: Path) -> None:
    client = create_app(node, Settings(data_dir=tmp_path, read_token="read-token")).test_client()
    answer = send(client, urls="https://example.org/x")
    assert answer.status_code == 400
    assert "github.com" in answer.text
    assert KNOWN_ID not in answer.text
    assert "17.50" not in answer.text
    assert "sign in" in answer.text
    client.post("/dashboard/login", data={"token": "read-token"})
    assert KNOWN_ID in send(client, urls="https://example.org/x").text


def test_a_wrong_token_is_told_at_the_form(guarded: FlaskClient) -> None:
    answer = guarded.post(
        "/dashboard/login", data={"token": "other"}, headers={"Accept": "text/html"}, follow_redirects=True
    )
    assert "not a token of this service" in answer.text
    assert "other" not in _without_values(answer.text).split("<main", 1)[1].replace("another", "")
