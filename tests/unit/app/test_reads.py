"""The paths that only look, and what holds for every answer."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from testmesh.app import schemas
from testmesh.model import TestResult
from testmesh.node.service import ModuleTests
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished
from tests.unit.app.test_submissions import problem

OTHER_ID = KNOWN_ID.replace("6f1c", "7f1c")


def test_an_evaluation_has_the_contracts_fields_in_their_order(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    body = client.get(f"/evaluation/{KNOWN_ID}").get_json()
    schemas.EvaluationOut.model_validate(body)
    assert list(body) == [
        *("id", "status", "submitted_at", "finished_at", "owner", "_run_info", "projects", "module_results")
    ]
    assert list(body["_run_info"].items())[:4] == [("errors", 0), ("%passed", 87.5), ("%failed", 12.5), ("nota", 17.5)]
    assert list(body["module_results"]["project-a"]) == ["tests/test_a.py", "tests/test_b.py"]


def test_the_list_is_newest_first_and_goes_on_after_an_id(client: FlaskClient, node: FakeNode) -> None:
    for evaluation_id in (KNOWN_ID, OTHER_ID):
        add_finished(node, evaluation_id)
    rows = client.get("/evaluation").get_json()["evaluations"]
    assert [row["id"] for row in rows] == [OTHER_ID, KNOWN_ID]
    assert list(rows[0].items())[1:] == [
        ("status", "done"),
        ("submitted_at", "2026-11-21T19:05:00Z"),
        ("projects", 1),
        ("%passed", 87.5),
        ("nota", 17.5),
    ]
    after = client.get(f"/evaluation?limit=1&after={OTHER_ID}").get_json()["evaluations"]
    assert [row["id"] for row in after] == [KNOWN_ID]
    problem(client.get(f"/evaluation?after={KNOWN_ID.replace('6', '9')}"), 404)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=1.5", "after=", "other=1", "limit=1&x"]
)
def test_a_bad_query_is_refused(client: FlaskClient, query: str) -> None:
    problem(client.get(f"/evaluation?{query}"), 400)


def test_tests_are_streamed_module_by_module(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    asked: list[str] = []

    def modules() -> Iterator[ModuleTests]:
        for number in range(3):
            asked.append(f"test_{number}.py")
            yield ModuleTests("p", asked[-1], (TestResult("test_x", "passed"),) * number)

    node.tests = lambda *_: modules()  # type: ignore[method-assign]
    answer = client.get(f"/evaluation/{KNOWN_ID}/tests", buffered=False)
    pieces = iter(answer.response)
    next(pieces)
    assert asked == ["test_0.py"]
    assert len(list(pieces)) > 1
    assert asked == ["test_0.py", "test_1.py", "test_2.py"]


def test_tests_have_the_contracts_fields(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    rows = client.get(f"/evaluation/{KNOWN_ID}/tests").get_json()["tests"]
    assert [row["name"] for row in rows] == ["test_one", "test_é", "test_two"]
    assert list(rows[2].values()) == [
        *("project-a", "tests/test_b.py", "test_two", "failed", 0.5, "assert 1 == 2", "out", "err")
    ]
    chosen = client.get(f"/evaluation/{KNOWN_ID}/tests?project=project-a&module=tests/test_b.py").get_json()["tests"]
    assert chosen == rows[2:]
    problem(client.get(f"/evaluation/{KNOWN_ID}/tests?module=other"), 404)


def test_no_tests_yet_is_an_empty_list(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    node.results.clear()
    assert client.get(f"/evaluation/{KNOWN_ID}/tests").get_json() == {"tests": []}


def test_stats_network_and_peers_to_the_letter(client: FlaskClient, node: FakeNode) -> None:
    assert client.get("/stats").text == (
        '{"all":{"failed":2,"passed":30,"projects":2,"evaluations":3},"nodes":[{"address":"10.0.0.1:5001","failed":2,'
        f'"passed":10,"projects":1,"modules":1,"evaluations":["{KNOWN_ID}"]}}]}}'
    )
    assert client.get("/network").get_json() == node.network()
    assert client.get("/peers").get_json() == ["10.0.0.2:5001"]


def test_health_is_503_when_no_work_is_taken(client: FlaskClient, node: FakeNode) -> None:
    assert client.get("/health").get_json()["status"] == "ok"
    node.healthy = False
    answer = client.get("/health")
    assert (answer.status_code, answer.get_json()["status"]) == (503, "draining")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/evaluation", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/evaluation", "GET, HEAD, OPTIONS, POST"),
        ("POST", f"/evaluation/{KNOWN_ID}", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", f"/evaluation/{KNOWN_ID}/rerun", "OPTIONS, POST"),
        ("POST", "/stats", "GET, HEAD, OPTIONS"),
        ("BREW", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_possible(
    client: FlaskClient, method: str, path: str, allowed: str
) -> None:
    answer = client.open(path, method=method)
    problem(answer, 405)
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/nothing", "/evaluation/", "/evaluation/x/y", "/static/x", "/../etc/passwd", "/%ff"])
def test_an_unknown_path_is_404(client: FlaskClient, path: str) -> None:
    problem(client.get(path), 404)


def test_an_answer_that_is_no_json_is_an_error_of_ours(client: FlaskClient, node: FakeNode) -> None:
    node.peers = lambda: [float("nan")]  # type: ignore[method-assign,list-item]
    problem(client.get("/peers"), 500)


@pytest.mark.parametrize("path", ["/stats", "/nothing", "/openapi/swagger"])
def test_every_answer_has_the_headers_that_protect_it(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_documentation_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/openapi", follow_redirects=True)
    assert page.status_code == 200
    assert "https://" not in page.text
    assert "http://" not in page.text
    for name in ("js/swagger-ui-bundle.js", "js/swagger-ui-standalone-preset.js", "css/swagger-ui.css"):
        assert f"swagger/{name}" in page.text
        assert client.get(f"/openapi/swagger/{name}").status_code == 200
    assert client.get("/openapi/openapi.json").get_json()["openapi"] == "3.1.0"
