"""Real nodes that were told to keep different numbers of evaluations."""

from pathlib import Path

import requests

from tests.support import zips
from tests.support.mesh import mesh, wait_for


def project(number: int) -> bytes:
    return zips.make_zip(
        {f"p{number}/test_a.py": f"def test_a():\n    assert {number} >= 0\n\ndef test_b():\n    assert 0\n"}
    )


def test_what_one_node_prunes_is_pruned_everywhere_and_the_totals_stay(tmp_path: Path) -> None:
    with mesh(tmp_path, 2) as nodes:
        keeps_less = nodes[0]
        assert keeps_less.terminate() == 0
        keeps_less.environ["MESH_KEEP_EVALUATIONS"] = "2"
        keeps_less.start()
        nodes.wait_joined()

        ids = []
        for number in range(3):
            ids.append(nodes[number % 2].submit(project(number), key=f"key-{number}"))
            nodes[number % 2].wait_done(ids[-1])

        for node in nodes.nodes:
            listed = wait_for(
                lambda node=node: (
                    (  # type: ignore[misc]
                        found := [row["id"] for row in node.get("/evaluation")["evaluations"]]
                    )
                    == ids[:0:-1]
                    and found
                ),
                what="two evaluations to be left",
            )
            assert listed
            answer = requests.get(f"{node.url}/evaluation/{ids[0]}", timeout=30)
            assert answer.status_code == 404
            assert "MESH_KEEP_EVALUATIONS" in answer.json()["detail"]
            assert requests.delete(f"{node.url}/evaluation/{ids[0]}", timeout=30).status_code == 404
            assert requests.post(f"{node.url}/evaluation/{ids[0]}/rerun", timeout=30).status_code == 404
            assert node.get("/stats")["all"] == {"failed": 3, "passed": 3, "projects": 3, "evaluations": 3}
            assert nodes[1].submit(project(0), key="key-0") == ids[0]
            wait_for(
                lambda node=node: len(list((node.data / "archives").glob("*.zip"))) == 2,  # type: ignore[misc]
                what="the archive of the pruned one to go",
            )
