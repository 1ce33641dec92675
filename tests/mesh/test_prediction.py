"""What one evaluation took tells what the next one will take, also after a restart."""

from pathlib import Path
from typing import Any

from tests.support.mesh import RunningNode, mesh, wait_for, zip_of

# Nothing in the files themselves tells which of them takes long.
SHORT = "import time\n\ndef test_it():\n    time.sleep(float('0.01'))\n"
LONG = SHORT.replace("0.01", "5")
BLOCK = SHORT.replace("0.01", "100")


def test_files_that_ran_before_are_predicted_by_what_they_took(tmp_path: Path) -> None:
    with mesh(tmp_path, 1, MESH_SLOTS="1") as running:
        node = running[0]
        first = node.wait_done(node.submit(zip_of({"ana/test_short.py": SHORT, "ana/test_long.py": LONG})))
        assert first["_run_info"]["eta"] is None
        for module in first["module_results"]["ana"].values():
            assert module["cpu_time"] > 0
            assert module["started_at"].endswith("Z")
        _check_order(node)

        node.kill()
        node.start()
        wait_for(node.is_healthy, what="it to be back")
        _check_order(node)


def _check_order(node: RunningNode) -> None:
    """With the one slot taken, so that what comes next waits as it is, however slow this machine is."""
    block = node.submit(zip_of({"zoe/test_block.py": BLOCK}))
    wait_for(lambda: node.get(f"/evaluation/{block}")["_run_info"]["running"], what="it to run")
    long = node.submit(zip_of({"eva/tests/test_b.py": LONG}))
    short = node.submit(zip_of({"rui/test_a.py": SHORT}))
    try:
        assert 0 < _eta_while_it_waits(node, short) < _eta_while_it_waits(node, long)
    finally:
        for evaluation in (long, short, block):
            node.request("DELETE", f"/evaluation/{evaluation}", timeout=30)
    for evaluation in (long, short, block):
        assert node.wait_done(evaluation)["_run_info"]["eta"] is None


def _eta_while_it_waits(node: RunningNode, evaluation: str) -> float:
    document: dict[str, Any] = node.get(f"/evaluation/{evaluation}")
    assert document["_run_info"]["pending"] == 1
    eta: float = document["_run_info"]["eta"]
    return eta
