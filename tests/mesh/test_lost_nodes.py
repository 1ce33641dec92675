"""Nodes of a real mesh are stopped in order or all killed, and started again. More is done to them in tests/faults."""

from pathlib import Path

import pytest

from tests.support.mesh import children, mesh, wait_for, zip_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

GOOD = "def test_one():\n    assert 1 + 1 == 2\n"
SLOW = "import time\n\ndef test_slow():\n    time.sleep(3)\n"


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
