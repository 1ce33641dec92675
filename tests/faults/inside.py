"""What only a look into a node's folder tells: scenarios need it to choose their victims, checks do without."""

import contextlib
import sqlite3

from testmesh.model import Evaluation
from testmesh.node.storage.sqlite_schema import stored_evaluation
from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode


def recorded(node: ClusterNode, evaluation: str) -> Evaluation:
    """As it stands in the node's database, be the node up or not."""
    file = f"{(node.data / 'mesh.db').absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(file, uri=True, timeout=10)) as database:
        row = database.execute("SELECT document FROM evaluations WHERE id = ?", (evaluation,)).fetchone()
    assert row is not None, f"node {node.number} does not know evaluation {evaluation}"
    return stored_evaluation(row[0])


def holders(cluster: Cluster, evaluation: str, at: int) -> list[int]:
    """The nodes that promised to keep its archives, as one of them has heard."""
    found = recorded(cluster[at], evaluation).holders
    return [node.number for node in cluster.nodes if node.address in found]


def has_archives(node: ClusterNode, evaluation: Evaluation) -> bool:
    return all((node.data / "archives" / f"{digest}.zip").exists() for digest in evaluation.archives)


def said(node: ClusterNode, text: str) -> bool:
    """Whether that is in its log."""
    return text in node.log.read_text(errors="replace")
