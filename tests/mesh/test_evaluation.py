"""A real mesh grades real zips: from any node, with any node's help."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.mesh import RunningMesh, mesh, wait_for, zip_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

GOOD = "def test_one():\n    assert 1 + 1 == 2\n\ndef test_two():\n    assert 'a' in 'abc'\n"
MIXED = "def test_good():\n    pass\n\ndef test_bad():\n    assert [1] == [2]\n"
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
