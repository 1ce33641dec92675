"""Repositories graded by two real nodes, from a GitHub that is ours: the token, the failures, an owner that dies."""

import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.github import FakeGitHub
from tests.support.mesh import RunningMesh, RunningNode, mesh, wait_for

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(180)]

GOOD = "def test_one():\n    assert 1 + 1 == 2\n"
MIXED = "def test_good():\n    pass\n\ndef test_bad():\n    assert [1] == [2]\n"
CANARY = "ghp_CANARY0123456789abcdefghijklmnop"


@pytest.fixture
def github(shared_github: FakeGitHub) -> FakeGitHub:
    """The shared one, with nothing set."""
    shared_github.token = None
    shared_github.faults = type(shared_github.faults)()
    return shared_github


@pytest.fixture(scope="module")
def shared_github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


@pytest.fixture(scope="module")
def shared(shared_github: FakeGitHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    folder = tmp_path_factory.mktemp("repositories")
    with mesh(folder, 2, MESH_GITHUB_API=shared_github.api, MESH_MAX_UNPACKED="1MiB") as running:
        yield running


def submit(node: RunningNode, *names: str, **fields: Any) -> str:
    """Names as `owner/repo`, with or without what may follow."""
    body = {"projects": [f"https://github.com/{name}" for name in names]} | fields
    answer = requests.post(f"{node.url}/evaluation", json=body, timeout=30)
    assert answer.status_code == 202, answer.text
    evaluation_id: str = answer.json()["id"]
    return evaluation_id


def record(node: RunningNode, evaluation_id: str) -> dict[str, Any]:
    """The evaluation as this node keeps it."""
    with closing(sqlite3.connect(f"file:{node.data / 'mesh.db'}?mode=ro", uri=True)) as database:
        row = database.execute("SELECT document FROM evaluations WHERE id = ?", (evaluation_id,)).fetchone()
    found: dict[str, Any] = json.loads(row[0]) if row else {}
    return found


def held(node: RunningNode) -> set[str]:
    return {path.stem for path in (node.data / "archives").glob("*.zip")}


def left_behind(node: RunningNode) -> list[str]:
    return [path.name for folder in ("incoming", "code") for path in (node.data / folder).iterdir()]


# What is graded -----------------------------------------------------------------------------


def test_repositories_are_graded_as_owner_repo_and_the_paths_below(github: FakeGitHub, shared: RunningMesh) -> None:
    github.add("ana/lab1", {"test_a.py": GOOD, "requirements.txt": ""})
    github.add("rui/labs", {"one/requirements.txt": "", "one/test_a.py": MIXED, "two/tests/test_b.py": GOOD})
    evaluation_id = submit(shared[0], "ana/lab1", "rui/labs.git/")
    document = shared[1].wait_done(evaluation_id)
    assert {name: project["nota"] for name, project in document["projects"].items()} == {
        "ana-lab1": 20.0,
        "rui-labs/one": 10.0,
        "rui-labs/two": 20.0,
    }
    assert document["_run_info"]["nota"] == pytest.approx(16.67)
    wait_for(lambda: not any(map(left_behind, shared.nodes)), what="nothing to be left but archives")


def test_a_branch_and_a_commit_may_be_named(github: FakeGitHub, shared: RunningMesh) -> None:
    commit = github.add("ana/branches", {"test_a.py": GOOD}, branches=("main", "feature/x"))
    evaluation_id = submit(shared[0], "ana/branches/tree/feature/x", f"ana/branches/tree/{commit}")
    document = shared[0].wait_done(evaluation_id)
    assert [project["nota"] for project in document["projects"].values()] == [20.0, 20.0]
    assert {source["commit"] for source in record(shared[0], evaluation_id)["sources"]} == {commit}


def test_sources_are_pinned_and_on_both_nodes_before_a_module_starts(github: FakeGitHub, tmp_path: Path) -> None:
    # Level none, so that the test sees the gate.
    with mesh(tmp_path, 2, MESH_GITHUB_API=github.api, MESH_SANDBOX="none") as running:
        _check_pinned(github, running, tmp_path / "gate")


def _check_pinned(github: FakeGitHub, shared: RunningMesh, gate: Path) -> None:
    waits = (
        "import pathlib, time\n\ndef test_waits():\n"
        f"    while not pathlib.Path({str(gate)!r}).exists():\n        time.sleep(0.05)\n"
    )
    commit = github.add("ana/pinned", {"test_a.py": waits})
    evaluation_id = submit(shared[0], "ana/pinned")
    try:
        wait_for(lambda: shared[1].get(f"/evaluation/{evaluation_id}")["_run_info"]["running"], what="a module to run")
        (source,) = record(shared[0], evaluation_id)["sources"]
        assert source["commit"] == commit
        assert all(source["archive"] in held(node) for node in shared.nodes)
        for node in shared.nodes:
            path = node.data / "archives" / f"{source['archive']}.zip"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == source["archive"]
        github.add("ana/pinned", {"test_a.py": "def test_other():\n    assert False\n"})
    finally:
        gate.touch()
    assert shared[0].wait_done(evaluation_id)["_run_info"]["passed"] == 1
    again = requests.post(f"{shared[1].url}/evaluation/{evaluation_id}/rerun", timeout=30).json()["id"]
    assert shared[1].wait_done(again)["_run_info"]["passed"] == 1, "a rerun is of the same sources"
    assert record(shared[1], again)["sources"][0]["commit"] == commit


# What cannot be had -------------------------------------------------------------------------


def test_one_that_cannot_be_had_costs_the_others_nothing(github: FakeGitHub, shared: RunningMesh) -> None:
    github.add("ana/good", {"test_a.py": GOOD})
    github.add("ana/mixed", {"test_a.py": MIXED})
    github.add("ana/huge", {"test_a.py": GOOD, "data.bin": bytes(2 * 1024**2)})
    github.add("ana/no-tests", {"app.py": ""})
    github.add("ana/secret", {"test_a.py": GOOD}, private=True)
    github.add_empty("ana/empty")
    github.add_tarball("ana/broken", b"no tarball at all")
    bad = ("missing", "huge", "no-tests", "secret", "empty", "broken", "good/tree/no-such-branch")
    evaluation_id = submit(shared[0], "ana/good", *(f"ana/{name}" for name in bad), "ana/mixed")
    document = shared[1].wait_done(evaluation_id)

    assert document["status"] == "done"
    assert document["_run_info"]["nota"] == 15.0
    assert document["_run_info"]["passed"] == 2
    failed = {name: p["detail"] for name, p in document["projects"].items() if p["status"] == "source_failed"}
    assert len(failed) == len(bad), document["projects"]
    assert all(document["projects"][name]["nota"] is None for name in failed)
    assert all(len(detail) > 20 and detail[-1] == "." for detail in failed.values()), failed
    for name, words in (
        ("ana-missing", "not found"),
        ("ana-secret", "auth_token"),
        ("ana-huge", "1048576"),
        ("ana-empty", "empty"),
        ("ana-no-tests", "no test"),
        ("ana-good-2", "branch"),
    ):
        assert words in failed[name].lower(), failed


def test_where_none_can_be_had_the_evaluation_has_failed(github: FakeGitHub, shared: RunningMesh) -> None:
    evaluation_id = submit(shared[0], "ana/nowhere", "ana/neither")
    document = shared[1].wait_done(evaluation_id)
    assert document["status"] == "failed"
    assert document["_run_info"]["nota"] is None
    assert [project["status"] for project in document["projects"].values()] == ["source_failed"] * 2
    listed = shared[1].get("/evaluation", params={"limit": 1})["evaluations"][0]
    assert (listed["id"], listed["status"], listed["nota"]) == (evaluation_id, "failed", None)
    assert requests.post(f"{shared[0].url}/evaluation/{evaluation_id}/rerun", timeout=30).status_code == 409


def test_a_rate_limit_says_when_to_come_again(github: FakeGitHub, shared: RunningMesh) -> None:
    github.faults.answer = (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"})
    document = shared[1].wait_done(submit(shared[0], "ana/limited"))
    detail = document["projects"]["ana-limited"]["detail"]
    assert "rate limit" in detail
    assert "2100-01-01" in detail


def test_a_redirect_to_another_place_is_not_a_way_into_the_network(github: FakeGitHub, shared: RunningMesh) -> None:
    github.add("ana/redirected", {"test_a.py": GOOD})
    for location in (f"{shared[0].url}/kill", "file:///etc/passwd", "gopher://127.0.0.1/", "http://[::1"):
        github.faults.location = location
        document = shared[0].wait_done(submit(shared[0], "ana/redirected"))
        assert document["projects"]["ana-redirected"]["status"] == "source_failed"
        assert shared[0].is_healthy()


def test_a_cancelled_evaluation_does_not_wait_for_its_sources(github: FakeGitHub, shared: RunningMesh) -> None:
    github.add("ana/slow", {"test_a.py": GOOD})
    asked, told = threading.Event(), threading.Event()

    def block() -> None:
        asked.set()
        told.wait(60)

    github.faults.before_tarball = block
    try:
        evaluation_id = submit(shared[0], "ana/slow")
        assert asked.wait(30)
        assert requests.delete(f"{shared[1].url}/evaluation/{evaluation_id}", timeout=30).status_code == 202
        document = shared[1].wait_done(evaluation_id)
    finally:
        told.set()
    assert document["status"] == "cancelled"
    assert document["projects"]["ana-slow"]["status"] == "cancelled"
    wait_for(lambda: not any(map(left_behind, shared.nodes)), what="nothing to be left of the fetch")
    assert shared[0].get(f"/evaluation/{evaluation_id}")["status"] == "cancelled"


# The token ----------------------------------------------------------------------------------


def test_a_token_goes_to_the_api_alone_and_is_nowhere_in_the_clear(github: FakeGitHub, shared: RunningMesh) -> None:
    github.token = CANARY
    github.add("ana/private", {"test_a.py": GOOD}, private=True)
    failing = ("ana/not-there", "ana/private/tree/no-such-branch")
    headers = {"Idempotency-Key": "with a token"}
    body = {"projects": [f"https://github.com/{n}" for n in ("ana/private", *failing)], "auth_token": CANARY}
    answers = [requests.post(f"{shared[0].url}/evaluation", json=body, headers=headers, timeout=30) for _ in range(2)]
    evaluation_id = answers[0].json()["id"]
    assert answers[1].json() == answers[0].json()
    document = shared[1].wait_done(evaluation_id)
    assert document["projects"]["ana-private"]["nota"] == 20.0

    assert any(request.authorization == f"Bearer {CANARY}" for request in github.seen("api"))
    assert all(CANARY not in json.dumps(dict(request.headers)) for request in github.seen("codeload"))
    assert all(CANARY not in request.path for request in github.requests)
    again = requests.post(f"{shared[1].url}/evaluation/{evaluation_id}/rerun", timeout=30).json()["id"]
    shared[1].wait_done(again)
    for bad in ({"projects": ["x"], "auth_token": CANARY}, {"auth_token": CANARY, CANARY: 1}, {"auth_token": [CANARY]}):
        refused = requests.post(f"{shared[0].url}/evaluation", json=bad, timeout=30)
        assert refused.status_code == 400
        answers.append(refused)

    for node in shared.nodes:
        for shown in ("", f"/{evaluation_id}", f"/{evaluation_id}/tests", f"/{again}"):
            answers.append(requests.get(f"{node.url}/evaluation{shown}", timeout=30))
        kept = wait_for(lambda node=node: record(node, evaluation_id), what="the record")  # type: ignore[misc]
        assert kept["sealed_token"] is None, "it is erased once the sources are stored"
        wait_for(lambda node=node: any(node.data.glob("evaluations_*.json")), what="the view of the store")  # type: ignore[misc]
        assert list(files_with(node, CANARY)) == []
    assert not [answer.url for answer in answers if CANARY[:12] in answer.text + str(answer.headers) and answer.ok]
    assert [a for a in answers if not a.ok and CANARY[:20] in a.json()["detail"]] == []


def files_with(node: RunningNode, secret: str) -> Iterator[Path]:
    """Files of the node, its log among them, in which the secret can be read."""
    wanted = secret.encode()
    for path in (node.log, *node.data.rglob("*")):
        if path.is_file() and not path.is_symlink() and {"environments", "packages"}.isdisjoint(path.parts):
            content = path.read_bytes()
            if wanted in content or wanted.hex().encode() in content:
                yield path


def test_while_a_source_is_open_the_token_is_kept_sealed_and_then_erased(
    github: FakeGitHub, shared: RunningMesh
) -> None:
    github.add("ana/open", {"test_a.py": GOOD})
    asked, told = threading.Event(), threading.Event()

    def block() -> None:
        asked.set()
        told.wait(60)

    github.faults.before_tarball = block
    try:
        evaluation_id = submit(shared[0], "ana/open", auth_token=CANARY)
        assert asked.wait(30)
        sealed = {record(node, evaluation_id)["sealed_token"] for node in shared.nodes}
        assert all(text and CANARY not in text for text in sealed), sealed
        assert [*files_with(shared[0], CANARY), *files_with(shared[1], CANARY)] == []
    finally:
        told.set()
    shared[0].wait_done(evaluation_id)
    for node in shared.nodes:
        wait_for(lambda node=node: record(node, evaluation_id)["sealed_token"] is None, what="the token to be erased")  # type: ignore[misc]


# An owner that dies -------------------------------------------------------------------------


def test_an_owner_that_dies_before_its_fetch_is_succeeded_with_the_token(tmp_path: Path) -> None:
    first, told = threading.Event(), threading.Event()

    def block_the_first() -> None:
        if not first.is_set():
            first.set()
            told.wait(90)

    with FakeGitHub() as github:
        github.token = CANARY
        github.add("ana/orphan", {"test_a.py": GOOD}, private=True)
        github.faults.before_tarball = block_the_first
        with mesh(tmp_path, 2, MESH_GITHUB_API=github.api) as running:
            try:
                evaluation_id = submit(running[0], "ana/orphan", auth_token=CANARY)
                assert first.wait(30)
                running[0].kill()
                document = running[1].wait_done(evaluation_id)
            finally:
                told.set()
            assert document["owner"] == running[1].address
            assert document["projects"]["ana-orphan"]["nota"] == 20.0
            assert record(running[1], evaluation_id)["sealed_token"] is None

            running[0].start()
            running.wait_joined()
            assert wait_for(lambda: running[0].get(f"/evaluation/{evaluation_id}") == document)
            wait_for(
                lambda: record(running[0], evaluation_id)["sealed_token"] is None, what="it to be erased there too"
            )
            assert left_behind(running[0]) == []
            for node in running.nodes:
                assert list(files_with(node, CANARY)) == []
                assert not re.search(r"Traceback|ERROR(?!.* was killed by SIGKILL)", node.log.read_text())
