"""What operators look at, on real nodes: all nodes with their load, metrics, logs."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from testmesh.app.operator_routes import NodeList
from tests.support.github import FakeGitHub
from tests.support.mesh import ROOT, RunningMesh, RunningNode, mesh, wait_for, zip_of
from tests.support.ports import reserved_ports

PROJECT = zip_of(
    {"secretive/test_a.py": "def test_a():\n    pass\n", "secretive/test_b.py": "def test_b():\n    assert 0\n"}
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with mesh(tmp_path_factory.mktemp("operator"), 2) as running:
        yield running


def samples(node: RunningNode) -> dict[tuple[str, str], float]:
    """Values by name and the label that tells the series of a family apart."""
    answer = node.request("GET", "/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {(s.name, next(iter(s.labels.values()), "")): s.value for s in found}


def by_address(node: RunningNode, query: str = "") -> dict[str, dict[str, Any]]:
    answer = node.get(f"/nodes{query}")
    NodeList.model_validate(answer)
    return {each["address"]: each for each in answer["nodes"]}


@pytest.mark.mesh
def test_every_node_lists_all_with_what_each_says_of_itself(two: RunningMesh) -> None:
    wait_for(lambda: all(n["history"] for n in by_address(two[0]).values()), what="a first sample of each node")
    for asked in two.nodes:
        found = by_address(asked)
        assert set(found) == {node.address for node in two.nodes}
        for node in two.nodes:
            health, told = node.get("/health"), found[node.address]
            same = ("status", "sandbox", "loopback", "slots")
            assert {key: told[key] for key in same} == {key: health[key] for key in same}
            assert told["alive"] is True
            assert told["cores"] > 0
            assert 0 < told["memory"] < 1
            assert len(told["history"][0]) == 4


@pytest.mark.mesh
def test_histories_are_left_out_where_that_is_asked_for(two: RunningMesh) -> None:
    assert [node["history"] for node in by_address(two[1], "?history=0").values()] == [[], []]
    assert two[0].request("GET", "/nodes?history=2", timeout=10).status_code == 400


@pytest.mark.mesh
def test_what_is_between_nodes_is_signed(two: RunningMesh) -> None:
    assert two[0].request("GET", "/vitals?history=1", timeout=10).status_code == 401


@pytest.mark.mesh
def test_metrics_of_all_nodes_together_count_what_was_graded_once(two: RunningMesh) -> None:
    two[0].wait_done(two[0].submit(PROJECT))

    def total(name: str, label: str = "") -> float:
        return sum(samples(node)[name, label] for node in two.nodes)

    wait_for(lambda: total("testmesh_evaluations_ended_total", "done") == 1, what="the end to be counted")
    assert total("testmesh_modules_total", "passed") == 1
    assert total("testmesh_modules_total", "failed") == 1
    assert total("testmesh_module_duration_seconds_count") == 2
    assert total("testmesh_environment_cache_total", "hit") + total("testmesh_environment_cache_total", "miss") >= 1
    for node in two.nodes:
        found = samples(node)
        assert found["testmesh_nodes", "alive"] == 2
        assert found["testmesh_evaluations", "queued"] == found["testmesh_evaluations", "running"] == 0
        assert found["testmesh_accepts_work", ""] == 1
        assert found["testmesh_copies_missing", ""] == 0
        assert found["testmesh_slots", ""] == node.get("/health")["slots"]
        assert 0 < found["testmesh_memory_used_ratio", ""] < 1
        assert "secretive" not in node.request("GET", "/metrics", timeout=10).text


@pytest.mark.mesh
def test_a_node_that_died_is_still_listed(tmp_path: Path) -> None:
    with mesh(tmp_path, 2) as running:
        first, second = running.nodes
        second.kill()
        gone = wait_for(
            lambda: next((n for n in by_address(first).values() if not n["alive"]), None), what="the death to be told"
        )
        assert (gone["address"], gone["status"], gone["slots"], gone["history"]) == (second.address, "dead", None, [])
        found = samples(first)
        assert (found["testmesh_nodes", "alive"], found["testmesh_nodes", "dead"]) == (1, 1)
        second.start()
        wait_for(lambda: by_address(first)[second.address]["alive"], what="the node to be back")


# Logs ---------------------------------------------------------------------------------------

SECRETS = {
    "MESH_SECRET": "CANARY-secret-of-the-mesh",
    "MESH_API_TOKEN": "CANARY-token-to-write",
    "MESH_READ_TOKEN": "CANARY-token-to-read",
    "MESH_CALLBACK_SECRET": "CANARY-secret-of-callbacks",
}
GITHUB_TOKEN = "CANARY-token-for-github"
WRITING = {"Authorization": f"Bearer {SECRETS['MESH_API_TOKEN']}"}


@dataclass
class LoudNode(RunningNode):
    """It logs at debug whatever any library has to say."""

    def start(self) -> None:
        with self.log.open("ab") as log:
            script = str(ROOT / "tests" / "support" / "loud_node.py")
            self.process = subprocess.Popen(
                [self.python, script], env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[LoudNode], str]]:
    """Two nodes after all that they are given tokens and secrets for, and the id of what they graded."""
    folder = tmp_path_factory.mktemp("loud")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    with reserved_ports(2) as ports, FakeGitHub() as github:
        github.token = GITHUB_TOKEN
        github.add("owner/private", {"test_a.py": "def test_a():\n    pass\n"})
        nodes = []
        for port in ports:
            node = LoudNode(port, folder, plain)
            node.environ = plain | SECRETS | {"MESH_PORT": str(port), "MESH_DATA_DIR": str(node.data)}
            node.environ |= {"MESH_LOG": "json", "MESH_GITHUB_API": github.api, "MESH_CALLBACK_PRIVATE": "1"}
            node.environ |= {"MESH_BOOTSTRAP": f"127.0.0.1:{ports[0]}"} if port != ports[0] else {}
            nodes.append(node)
        try:
            for node in nodes:
                node.start()
            RunningMesh(list(nodes)).wait_joined()
            yield nodes, _use(nodes[0])
        finally:
            for node in nodes:
                if node.process is not None and node.process.poll() is None:
                    node.kill()


def _use(node: RunningNode) -> str:
    for token in (GITHUB_TOKEN, f"{GITHUB_TOKEN}-wrong"):
        body: dict[str, Any] = {"projects": ["https://github.com/owner/private"], "auth_token": token}
        body |= {"options": {"callback_url": "http://127.0.0.1:9/told?key=CANARY-in-a-query"}}
        answer = requests.post(f"{node.url}/evaluation", json=body, headers=WRITING, timeout=30)
        assert answer.status_code == 202, answer.text
        found = answer.json()["id"]
        wait_for(lambda found=found: _status(node, found) in ("done", "failed"), what="its end")  # type: ignore[misc]
    for wrong in ("CANARY-wrong", ""):
        headers = {"Authorization": f"Bearer {wrong}"}
        assert requests.post(f"{node.url}/evaluation", json={}, headers=headers, timeout=10).status_code == 401
    login = {"token": SECRETS["MESH_READ_TOKEN"]}
    requests.post(f"{node.url}/dashboard/login", data=login, timeout=10, allow_redirects=False)
    sent = requests.post(f"{node.url}/evaluation", files={"file": ("p.zip", PROJECT)}, headers=WRITING, timeout=30)
    graded: str = sent.json()["id"]
    wait_for(lambda: _status(node, graded) == "done", what="its end")
    return graded


def _status(node: RunningNode, evaluation_id: str) -> str:
    headers = {"Authorization": f"Bearer {SECRETS['MESH_READ_TOKEN']}"}
    found: str = requests.get(f"{node.url}/evaluation/{evaluation_id}", headers=headers, timeout=10).json()["status"]
    return found


@pytest.mark.mesh
def test_no_token_and_no_secret_is_in_a_log_even_at_debug(logged: tuple[list[LoudNode], str]) -> None:
    for node in logged[0]:
        levels = {line["level"] for line in node.lines()}
        assert "debug" in levels
        assert "CANARY" not in node.log.read_text()


@pytest.mark.mesh
def test_every_line_is_json_and_those_of_an_attempt_have_its_ids(logged: tuple[list[LoudNode], str]) -> None:
    nodes, graded = logged
    lines = [line for node in nodes for line in node.lines()]
    assert {line["address"] for line in lines} == {node.address for node in nodes}
    attempts = {line["module"]: line for line in lines if line.get("evaluation") == graded and "module" in line}
    assert set(attempts) == {"test_a.py", "test_b.py"}
    line = attempts["test_b.py"]
    assert (line["project"], line["attempt"], line["node"]) == ("secretive", 1, line["address"])
    assert "failed" in line["message"]
    ends = [line for line in lines if line.get("evaluation") == graded and "ended after" in line["message"]]
    assert len(ends) == 1
