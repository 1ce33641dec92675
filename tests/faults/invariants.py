"""Invariants A, B, C, E and F, from outside: through the API of every node that answers, and by what is left over."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests

from tests.faults import processes
from tests.faults.cluster import Cluster, processors_are_short
from tests.faults.cluster_node import ClusterNode
from tests.faults.corpus import Work
from tests.faults.model import Scenario
from tests.faults.watcher import Replaced

EQUAL_WITHIN_S = 10.0
_BUSY_S = 60.0  # instead, on a machine whose processors are short
_PATIENCE_S = 180.0
_LOOK_S = 0.1


def all_end_somewhere(cluster: Cluster) -> None:
    """A, first half: every acknowledged evaluation ends."""
    until = time.monotonic() + _PATIENCE_S
    for evaluation in cluster.accepted:
        wrong = _until(partial(_ends_nowhere, cluster, evaluation), until)
        if wrong:
            cluster.break_("A", f"evaluation {evaluation}: {wrong}")


def stores_become_equal(cluster: Cluster) -> float | None:
    """F: how long it took since the faults were over and the evaluations had ended. None: too long, or never.

    Where the machine's processors are short, with other tests beside this one, only that they become equal counts.
    """
    begun = max([cluster.healed_at, *cluster.watcher.ended_at.values()])
    looked = time.monotonic()
    until = max(begun + EQUAL_WITHIN_S, looked)  # there is one look in any case
    difference = ""
    while looked <= until or (looked <= begun + _BUSY_S and processors_are_short()):
        difference = _difference(cluster)
        if not difference:
            return max(0.0, time.monotonic() - begun)
        time.sleep(_LOOK_S)
        looked = time.monotonic()
    cluster.break_("F", f"after {time.monotonic() - begun:.0f} s the nodes still differ: {difference}")
    return None


def all_know_all(cluster: Cluster) -> None:
    """A, second half: every node knows every acknowledged evaluation, and that it has ended."""
    until = time.monotonic() + _PATIENCE_S
    for node in cluster.answering():
        for evaluation in cluster.accepted:
            wrong = _until(partial(_has_ended, node, evaluation), until)
            if wrong:
                cluster.break_("A", f"node {node.number}: evaluation {evaluation}: {wrong}")


def results_are_as_expected(cluster: Cluster) -> None:
    """C: the numbers are those of a run without faults, on every node."""
    for node in cluster.answering():
        for evaluation, work in cluster.accepted.items():
            if evaluation in cluster.cancelled:
                continue
            document = _asked(node, f"/evaluation/{evaluation}")
            if document is None:
                continue  # A has told
            cluster.watcher.take(node.number, document)
            for text in differences(document, work):
                cluster.break_("C", f"node {node.number}: evaluation {evaluation}: {text}")


def differences(document: dict[str, Any], work: Work) -> list[str]:
    shown = {
        (project, module): result
        for project, modules in document["module_results"].items()
        for module, result in modules.items()
    }
    wrong = [f"{key} was not there to be graded" for key in shown.keys() - work.expected.keys()]
    for key, expected in work.expected.items():
        result = shown.get(key)
        if result is None:
            wrong.append(f"{key} has no result")
            continue
        wanted = (expected.verdict, expected.passed, expected.failed, expected.errors, expected.skipped)
        found = tuple(result[name] for name in ("verdict", "passed", "failed", "errors", "skipped"))
        if wanted != found:
            where = f"{result['node']}, attempt {result['attempts']}, {result['detail'][:200]!r}"
            wrong.append(f"{key} is {found}, expected {wanted} ({where})")
    nota = work.nota
    if document["_run_info"]["nota"] != (None if nota is None else round(nota, 2)):
        wrong.append(f"nota is {document['_run_info']['nota']}, expected {nota}")
    return wrong


def nothing_is_left(cluster: Cluster) -> None:
    """F: no process of a node that is gone, no folder of an evaluation that has ended; see stores_become_equal."""
    until = time.monotonic() + (_BUSY_S if processors_are_short() else EQUAL_WITHIN_S)
    for left in (
        _until(lambda: _orphans(cluster), until),
        *(_until(partial(_folders, node), until) for node in cluster.answering()),
    ):
        if left:
            cluster.break_("F", left)


def results_stood(cluster: Cluster, scenario: Scenario) -> None:
    """B: no node showed two final results of a module, but one more after a partition."""
    seen: dict[tuple[int, Any], list[Replaced]] = {}
    for change in cluster.watcher.replaced:
        seen.setdefault((change.node, change.key), []).append(change)
    most = 1 if "replaced" in scenario.allows else 0
    for (node, key), changes in seen.items():
        if len(changes) > most or any(change.after is None for change in changes):
            told = " -> ".join(str(result) for result in (changes[0].before, *(change.after for change in changes)))
            cluster.break_("B", f"node {node}: {key}: {told}")


def nobody_was_declared_dead_in_vain(cluster: Cluster, scenario: Scenario) -> None:
    """E."""
    if "deaths" in scenario.allows:
        return
    numbers = {node.address: node.number for node in cluster.nodes}
    for node in cluster.nodes:
        for death in node.deaths():
            about = numbers.get(death.address)
            if about is not None and not cluster.disturbances.is_excused(node.number, about, death.at):
                when = time.strftime("%H:%M:%S", time.localtime(death.at))
                cluster.break_("E", f"node {node.number} declared node {about} dead at {when}, which was alive")


def repeated(cluster: Cluster) -> int:
    """Attempts beyond the first, of all modules."""
    count = 0
    for evaluation in cluster.accepted:
        document = _asked(cluster.answering()[0], f"/evaluation/{evaluation}") if cluster.answering() else None
        for modules in (document or {"module_results": {}})["module_results"].values():
            count += sum(max(0, result["attempts"] - 1) for result in modules.values())
    return count


# Inside ---------------------------------------------------------------------------------------


def _until(look: Callable[[], str], until: float) -> str:
    """What is still wrong then, or ""."""
    while (found := look()) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return found


def _asked(node: ClusterNode, path: str) -> Any:
    try:
        return node.get(path, timeout=10)
    except requests.RequestException:
        return None


def _ends_nowhere(cluster: Cluster, evaluation: str) -> str:
    """Why not, by the first node that answers; "" where it has ended on any."""
    if evaluation in cluster.watcher.ended_at:
        return ""
    wrong = [_has_ended(node, evaluation) for node in cluster.answering()]
    if "" in wrong:
        cluster.watcher.ended_at.setdefault(evaluation, time.monotonic())
        return ""
    return wrong[0] if wrong else "no node is left"


def _has_ended(node: ClusterNode, evaluation: str) -> str:
    document = _asked(node, f"/evaluation/{evaluation}")
    if document is None:
        return "it is not known there"
    left = document["_run_info"]
    return "" if document["finished_at"] else f"it has not ended: {left['pending']} pending, {left['running']} running"


def _difference(cluster: Cluster) -> str:
    first, *others = cluster.answering()
    paths = ["/stats", "/evaluation?limit=500", *(f"/evaluation/{evaluation}" for evaluation in cluster.accepted)]
    for path in paths:
        wanted = _asked(first, path)
        for node in others:
            found = _asked(node, path)
            if wanted is None or found != wanted:
                return f"{path}: node {first.number}: {_short(wanted)}; node {node.number}: {_short(found)}"
    return ""


def _short(value: Any) -> str:
    return str(value)[:1500]


def _orphans(cluster: Cluster) -> str:
    own = {process for node in cluster.nodes if node.is_running for process in node.tree()}
    numbers = {process.pid for process in own}
    left = [process for node in cluster.nodes for process in node.seen if process.is_alive()]
    left += processes.living_in(cluster[0].folder.parent)
    found = sorted({process.pid for process in left} - numbers)
    return f"processes {found} are left of nodes that are gone" if found else ""


def _folders(node: ClusterNode) -> str:
    left = [*(node.data / "work").glob("run-*"), *(node.data / "code").iterdir()]
    return f"node {node.number} has left {[str(path.relative_to(node.data)) for path in left]}" if left else ""
