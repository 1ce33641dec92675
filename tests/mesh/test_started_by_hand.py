"""What a person starts by hand: a second member by local_node.py, the whole demo by boot.sh; all real."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import Checkout, checkout
from tests.support.mesh import ROOT, SECRET, mesh, wait_for, zip_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

SLOW = "import time\n\ndef test_slow():\n    time.sleep(2)\n"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with the real node in it."""
    with checkout(tmp_path / "clone") as made:
        shutil.copy(ROOT / "src" / "run_node.py", made.path / "src" / "run_node.py")
        shutil.copytree(ROOT / "examples", made.path / "examples")
        yield made


def test_a_member_by_local_node_takes_part_in_an_evaluation(clone: Checkout, tmp_path: Path) -> None:
    with mesh(tmp_path, 1, MESH_SLOTS="1") as running:
        first = running[0]
        script = str(clone.path / "src" / "local_node.py")
        command = [sys.executable, script, "--process", str(clone.first_port), "127.0.0.1", str(first.port)]
        environ = clone.environ(MESH_SECRET=SECRET, MESH_SLOTS="1")
        with (tmp_path / "member.log").open("wb") as log:
            member = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            address = f"127.0.0.1:{clone.first_port}"
            wait_for(lambda: first.get("/peers") == [address], what="the member to join")
            document = first.wait_done(first.submit(zip_of({f"p{number}/test_slow.py": SLOW for number in range(6)})))
            ran = {result["node"] for modules in document["module_results"].values() for result in modules.values()}
            assert ran == {first.address, address}
            assert document["_run_info"]["passed"] == 6
            assert first.get("/network") == {first.address: [address], address: [first.address]}
        finally:
            member.terminate()
            assert member.wait(timeout=60) == 0
        assert first.get("/peers") == []


def test_the_demo_grades_the_examples_as_expected_and_leaves_nothing(clone: Checkout) -> None:
    demo = clone.boot("--demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Every grade is as examples/expected.json has it" in demo.stdout
    down = clone.boot("--down")
    assert down.returncode == 0
    left = subprocess.run(["pgrep", "-f", str(clone.path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
