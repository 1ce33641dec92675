"""A real mesh grades real zips: from any node, with any node's help, and whichever node dies."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.mesh import RunningMesh, children, ended, mesh, wait_for, zip_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

GOOD = "def test_one():\n    assert 1 + 1 == 2\n\ndef test_two():\n    assert 'a' in 'abc'\n"
MIXED = "def test_good():\n    pass\n\ndef test_bad():\n    assert [1] == [2]\n"
SLOW = "import time\n\ndef test_slow():\n    time.sleep(3)\n"
PORT = """
import socket, time

def test_port():
    with socket.create_server(("127.0.0.1", 5000)):
        time.sleep(1)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """Three nodes for the tests that hurt nobody."""
    with mesh(tmp_path_factory.mktemp("shared"), 3) as running:
        yield running


def test_a_class_is_graded_and_every_node_says_the_same(shared: RunningMesh) -> None:
    archive = zip_of(
        {
            "ana/test_a.py": GOOD,
            "ana/tests/test_b.py": MIXED,
            "rui/test_syntax.py": "def test_x(:\n",
            "rui/test_empty.py": "x = 1\n",
        }
    )
    evaluation_id = shared[0].submit(archive)
    document = shared[1].wait_done(evaluation_id)

    assert document["status"] == "done"
    assert document["projects"]["ana"]["nota"] == 15.0
    assert document["projects"]["rui"]["nota"] == 0.0
    verdicts = {
        (project, module): result["verdict"]
        for project, modules in document["module_results"].items()
        for module, result in modules.items()
    }
    assert verdicts == {
        ("ana", "test_a.py"): "passed",
        ("ana", "tests/test_b.py"): "failed",
        ("rui", "test_syntax.py"): "collect_error",
        ("rui", "test_empty.py"): "no_tests",
    }
    info = document["_run_info"]
    assert (info["passed"], info["failed"], info["executed"], info["errors"], info["nota"]) == (3, 2, 4, 1, 7.5)
    for node in shared.nodes:
        assert wait_for(lambda node=node: node.get(f"/evaluation/{evaluation_id}") == document)  # type: ignore[misc]
    tests = shared[2].get(f"/evaluation/{evaluation_id}/tests", params={"project": "ana", "module": "tests/test_b.py"})
    assert [(test["name"], test["outcome"]) for test in tests["tests"]] == [
        ("test_good", "passed"),
        ("test_bad", "failed"),
    ]
    assert "assert [1] == [2]" in tests["tests"][1]["longrepr"]


def test_stats_and_network_are_as_the_contract_says_and_equal_on_every_node(shared: RunningMesh) -> None:
    before = shared[0].get("/stats")["all"]
    evaluation_id = shared[0].submit(zip_of({"solo/test_a.py": GOOD, "solo/test_b.py": MIXED}))
    shared[0].wait_done(evaluation_id)

    stats = wait_for(
        lambda: (said := shared[0].get("/stats")) == shared[1].get("/stats") == shared[2].get("/stats") and said,
        patience=10,
        what="equal stats",
    )
    assert list(stats) == ["all", "nodes"]
    assert stats["all"]["passed"] == before["passed"] + 3
    assert stats["all"]["failed"] == before["failed"] + 1
    assert stats["all"]["evaluations"] == before["evaluations"] + 1
    assert sorted(node["address"] for node in stats["nodes"]) == sorted(node.address for node in shared.nodes)
    for node in stats["nodes"]:
        assert list(node) == ["address", "failed", "passed", "projects", "modules", "evaluations"]
    assert sum(node["passed"] for node in stats["nodes"]) == stats["all"]["passed"]

    addresses = sorted(node.address for node in shared.nodes)
    for node in shared.nodes:
        network = node.get("/network")
        assert sorted(network) == addresses
        assert all(sorted([*peers, address]) == addresses for address, peers in network.items())


def test_modules_that_bind_the_same_port_all_pass(shared: RunningMesh) -> None:
    archive = zip_of({f"s{number}/test_port.py": PORT for number in range(6)})
    document = shared[0].wait_done(shared[0].submit(archive))
    assert document["_run_info"]["passed"] == 6, document


def test_several_evaluations_at_once_through_different_nodes(shared: RunningMesh) -> None:
    ids = [node.submit(zip_of({f"p{number}/test_a.py": GOOD})) for number, node in enumerate(shared.nodes * 2)]
    documents = [shared[0].wait_done(evaluation_id) for evaluation_id in ids]
    assert [document["_run_info"]["nota"] for document in documents] == [20.0] * 6
    listed = [line["id"] for line in shared[1].get("/evaluation", params={"limit": 6})["evaluations"]]
    assert sorted(listed) == sorted(ids)


def test_one_idempotency_key_is_one_evaluation_on_whichever_node(shared: RunningMesh) -> None:
    archive = zip_of({"p/test_a.py": GOOD})
    first = shared[0].submit(archive, key="retry-1")
    assert shared[2].submit(archive, key="retry-1") == first
    other = {"file": ("class.zip", zip_of({"q/test_a.py": GOOD}))}
    answer = requests.post(
        f"{shared[1].url}/evaluation", files=other, headers={"Idempotency-Key": "retry-1"}, timeout=30
    )
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_cancelled_evaluation_ends_and_kills_its_modules(shared: RunningMesh) -> None:
    hang = "import time\n\ndef test_hang():\n    time.sleep(600)\n"
    evaluation_id = shared[0].submit(zip_of({f"p{number}/test_hang.py": hang for number in range(4)}))
    wait_for(lambda: shared[0].get(f"/evaluation/{evaluation_id}")["_run_info"]["running"])
    assert requests.delete(f"{shared[1].url}/evaluation/{evaluation_id}", timeout=30).status_code == 202
    document = shared[2].wait_done(evaluation_id)
    assert document["status"] == "cancelled"
    assert requests.delete(f"{shared[0].url}/evaluation/{evaluation_id}", timeout=30).status_code == 409
    wait_for(lambda: all(node.get("/health")["running"] == 0 for node in shared.nodes), what="every module to be gone")


def test_rerun_grades_the_same_sources_again(shared: RunningMesh) -> None:
    first = shared[0].submit(zip_of({"ana/test_a.py": GOOD, "rui/test_a.py": MIXED}))
    shared[0].wait_done(first)
    answer = requests.post(f"{shared[1].url}/evaluation/{first}/rerun", params={"project": "rui"}, timeout=30)
    assert answer.status_code == 202
    document = shared[2].wait_done(answer.json()["id"])
    assert list(document["projects"]) == ["rui"]
    assert document["_run_info"]["nota"] == 10.0


def test_internal_paths_are_401_without_a_signature(shared: RunningMesh) -> None:
    names = "join new_peer ping load run_tests results evaluation_req stats_req archive kill"
    for path in (f"/{name}" for name in names.split()):
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert requests.request(method, f"{shared[0].url}{path}", timeout=30).status_code == 401, (method, path)


def test_a_worker_that_is_killed_loses_no_module(tmp_path: Path) -> None:
    with mesh(tmp_path, 3) as running:
        evaluation_id = running[0].submit(zip_of({f"p{number}/test_slow.py": SLOW for number in range(12)}))
        wait_for(lambda: running[2].get("/health")["running"], what="the third node to run a module")
        running[2].kill()
        document = running[1].wait_done(evaluation_id)
        assert document["_run_info"]["passed"] == 12
        results = [result for modules in document["module_results"].values() for result in modules.values()]
        assert {result["node"] for result in results} <= {running[0].address, running[1].address, running[2].address}
        assert any(result["attempts"] > 1 for result in results)


def test_an_owner_that_is_killed_is_succeeded(tmp_path: Path) -> None:
    with mesh(tmp_path, 3) as running:
        evaluation_id = running[0].submit(zip_of({f"p{number}/test_slow.py": SLOW for number in range(12)}))
        wait_for(lambda: running[1].get(f"/evaluation/{evaluation_id}")["_run_info"]["running"])
        running[0].kill()
        document = running[1].wait_done(evaluation_id)
        assert document["_run_info"]["passed"] == 12
        assert document["owner"] in (running[1].address, running[2].address)
        wait_for(lambda: running[2].get(f"/evaluation/{evaluation_id}") == document, what="both to agree")


def test_after_a_restart_of_all_everything_is_there_and_goes_on(tmp_path: Path) -> None:
    with mesh(tmp_path, 2) as running:
        done = running[0].submit(zip_of({"p/test_a.py": GOOD}))
        before = running[0].wait_done(done)
        open_one = running[1].submit(zip_of({f"p{number}/test_slow.py": SLOW for number in range(6)}))
        wait_for(lambda: running[0].get(f"/evaluation/{open_one}")["_run_info"]["running"])
        for node in running.nodes:
            node.kill()
        for node in running.nodes:
            node.start()
        running.wait_joined()
        assert running[1].get(f"/evaluation/{done}") == before
        document = running[0].wait_done(open_one)
        assert document["_run_info"]["passed"] == 6
        view = wait_for(lambda: list(running[0].data.glob("evaluations_*.json")), what="the view of the store")
        assert view[0].name == f"evaluations_127.0.0.1_{running[0].port}.json"


def test_sigterm_drains_and_leaves_nothing_running(tmp_path: Path) -> None:
    with mesh(tmp_path, 2) as running:
        evaluation_id = running[0].submit(zip_of({f"p{number}/test_slow.py": SLOW for number in range(8)}))
        wait_for(lambda: running[1].get("/health")["running"])
        assert running[1].process is not None
        below = children(running[1].process.pid)
        assert running[1].terminate() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in below)
        document = running[0].wait_done(evaluation_id)
        assert document["_run_info"]["passed"] == 8
        assert running[0].get("/peers") == []


def test_a_standing_still_of_two_seconds_is_no_death(tmp_path: Path) -> None:
    with mesh(tmp_path, 3) as running:
        assert running[1].process is not None
        worker = children(running[1].process.pid)[0]
        os.kill(worker, signal.SIGSTOP)
        until = time.monotonic() + 2.0
        wait_for(lambda: time.monotonic() >= until)
        os.kill(worker, signal.SIGCONT)
        evaluation_id = running[0].submit(zip_of({"p/test_a.py": GOOD}))
        running[0].wait_done(evaluation_id)
        running.wait_joined()
        for node in (running[0], running[2]):
            assert f"node {running[1].address}: suspect -> dead" not in node.log.read_text()
            assert f"node {running[1].address}: alive -> dead" not in node.log.read_text()
        assert ended(running[1].get(f"/evaluation/{evaluation_id}"))


def test_one_key_with_many_bodies_at_once_is_one_evaluation_and_conflicts(shared: RunningMesh) -> None:
    def post(number: int) -> tuple[int, str]:
        files = {"file": ("class.zip", zip_of({f"p{number}/test_a.py": GOOD}))}
        answer = requests.post(
            f"{shared[0].url}/evaluation", files=files, headers={"Idempotency-Key": "at-once"}, timeout=60
        )
        return answer.status_code, answer.json().get("id", "")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert sorted(status for status, _ in answers) == [202] + [409] * 7
    winner = next(number for number, (status, _) in enumerate(answers) if status == 202)
    assert list(shared[1].wait_done(answers[winner][1])["projects"]) == [f"p{winner}"]


def test_orderly_restarts_are_not_held_against_a_module(tmp_path: Path) -> None:
    long = "import time\n\ndef test_long():\n    time.sleep(4)\n"
    with mesh(tmp_path, 1) as running:
        evaluation_id = running[0].submit(zip_of({"p/test_long.py": long}))
        for _ in range(4):
            wait_for(lambda: running[0].get(f"/evaluation/{evaluation_id}")["_run_info"]["running"])
            assert running[0].terminate() == 0
            running[0].start()
            running.wait_joined()
        document = running[0].wait_done(evaluation_id)
        assert document["module_results"]["p"]["test_long.py"]["verdict"] == "passed"
