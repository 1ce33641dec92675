"""Many modules that wait run side by side on one node, however few processors it has; MESH_SLOTS caps that."""

from pathlib import Path

import pytest

from tests.support.mesh import PATIENCE_S, mesh, wait_for, zip_of

pytestmark = pytest.mark.mesh

# Each says that it is there, and waits for the gate: it ends only once the test has seen how many are there together.
MEETING = """
import os, time
from pathlib import Path

FOLDER = Path({folder!r})

def test_meets():
    (FOLDER / "{name}").touch()
    try:
        while not (FOLDER / "open").exists():
            time.sleep(0.05)
    finally:
        (FOLDER / "{name}").unlink()
"""


def meeting(folder: Path, count: int) -> bytes:
    folder.mkdir()
    sources = {f"p{n % 3}/test_m{n}.py": MEETING.format(folder=str(folder), name=f"m{n}") for n in range(count)}
    return zip_of(sources)


def present(folder: Path) -> int:
    return sum(path.name.startswith("m") for path in folder.iterdir())


def test_all_modules_that_wait_meet_on_one_node(tmp_path: Path) -> None:
    with mesh(tmp_path, 1, MESH_SANDBOX="none") as running:
        folder = tmp_path / "meeting"
        evaluation_id = running[0].submit(meeting(folder, 12))
        wait_for(lambda: present(folder) == 12, PATIENCE_S, "12 modules to run at once")
        (folder / "open").touch()
        assert running[0].wait_done(evaluation_id)["_run_info"]["passed"] == 12


def test_no_more_than_the_slots_that_are_set_meet(tmp_path: Path) -> None:
    with mesh(tmp_path, 1, MESH_SANDBOX="none", MESH_SLOTS="3") as running:
        folder = tmp_path / "meeting"
        evaluation_id = running[0].submit(meeting(folder, 8))
        wait_for(lambda: present(folder) == 3, PATIENCE_S, "3 modules to run at once")
        health = wait_for(
            lambda: (seen := running[0].get("/health"))["waiting"] and seen, PATIENCE_S, "the rest to wait at the node"
        )
        assert (health["slots"], health["running"]) == (3, 3)
        assert present(folder) == 3
        (folder / "open").touch()
        document = running[0].wait_done(evaluation_id)
        assert document["_run_info"]["passed"] == 8


def test_nodes_of_one_machine_share_its_start_gates_and_lose_nothing(tmp_path: Path) -> None:
    with mesh(tmp_path, 2, MESH_SANDBOX="none") as running:
        folder = tmp_path / "meeting"
        evaluation_id = running[0].submit(meeting(folder, 16))
        wait_for(lambda: present(folder) == 16, PATIENCE_S, "16 modules to run at once on 2 nodes")
        (folder / "open").touch()
        document = running[1].wait_done(evaluation_id)
        modules = [module for project in document["module_results"].values() for module in project.values()]
        assert {module["verdict"] for module in modules} == {"passed"}
        assert {module["node"] for module in modules} == {node.address for node in running.nodes}
