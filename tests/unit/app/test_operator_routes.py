"""`/nodes` and `/metrics` as they are answered."""

import pytest
from flask.testing import FlaskClient

from testmesh.app.operator_routes import NodeList
from tests.support.fake_node import FakeNode
from tests.unit.app.test_submissions import problem

FIELDS = (
    *("address", "alive", "status", "sandbox", "loopback", "version", "cores", "slots"),
    *("running", "waiting", "cpu", "memory", "uptime", "history"),
)


def test_every_node_has_every_field_and_what_is_not_known_is_null(client: FlaskClient) -> None:
    body = client.get("/nodes").get_json()
    NodeList.model_validate(body)
    alive, dead = body["nodes"]
    assert tuple(alive) == tuple(dead) == FIELDS
    assert (alive["cpu"], alive["uptime"]) == (0.417, 3600.4)
    assert alive["history"] == [[1795287890, 2, 0, None], [1795287900, 3, 5, 0.417]]
    known = {key: value for key, value in dead.items() if value is not None}
    assert known == {"address": "10.0.0.2:5001", "alive": False, "status": "dead", "history": []}


def test_history_0_leaves_the_histories_empty(client: FlaskClient) -> None:
    assert [node["history"] for node in client.get("/nodes?history=0").get_json()["nodes"]] == [[], []]
    assert client.get("/nodes?history=1").get_json() == client.get("/nodes").get_json()


@pytest.mark.parametrize("path", ["/nodes?history=", "/nodes?history=2", "/nodes?other=1", "/metrics?name=x"])
def test_a_bad_query_is_refused(client: FlaskClient, path: str) -> None:
    problem(client.get(path), 400)


def test_metrics_are_given_as_the_node_makes_them_for_who_asks(client: FlaskClient, node: FakeNode) -> None:
    asked: list[str] = []

    def metrics(accept: str) -> tuple[bytes, str]:
        asked.append(accept)
        return b"testmesh_slots 64.0\n", "text/plain; version=0.0.4; charset=utf-8"

    node.metrics = metrics  # type: ignore[method-assign]
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.data == b"testmesh_slots 64.0\n"
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert asked == ["application/openmetrics-text"]
