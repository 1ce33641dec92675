"""What the node knows, as the JSON of the public API (spec sections 2 to 4)."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from flask import Response

from testmesh.node.document import timestamp
from testmesh.node.service import EvaluationSummary, ModuleTests, NodeTotals, Totals


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Fields keep their order; a NaN is an error of ours and never sent."""
    return Response(_dumps(value), status, headers, content_type="application/json")


def created(evaluation_id: str) -> Response:
    return json_answer({"id": evaluation_id}, 202, {"Location": f"/evaluation/{evaluation_id}"})


def evaluation_list(summaries: Sequence[EvaluationSummary]) -> dict[str, Any]:
    return {
        "evaluations": [
            {
                "id": summary.id,
                "status": summary.status.value,
                "submitted_at": timestamp(summary.submitted_at),
                "projects": summary.projects,
                "%passed": summary.percent_passed,
                "nota": summary.nota,
            }
            for summary in summaries
        ]
    }


def stream_tests(modules: Iterable[ModuleTests]) -> Response:
    """`{"tests": […]}`, sent module by module: the output of all tests together may be large.

    The first module is had before the answer begins, so that what it raises still becomes a problem.
    """
    rest = iter(modules)
    first = next(rest, None)
    every = chain([first], rest) if first is not None else iter(())
    return Response(_test_pieces(every), content_type="application/json")


def _test_pieces(modules: Iterable[ModuleTests]) -> Iterator[str]:
    yield '{"tests":['
    separator = ""
    for module in modules:
        rows = [
            {
                "project": module.project,
                "module": module.module,
                "name": test.name,
                "outcome": test.outcome,
                "time": round(test.time, 3),
                "longrepr": test.longrepr,
                "stdout": test.stdout,
                "stderr": test.stderr,
            }
            for test in module.tests
        ]
        if rows:
            yield separator + ",".join(_dumps(row) for row in rows)
            separator = ","
    yield "]}"


def stats(totals: Totals, nodes: Sequence[NodeTotals]) -> dict[str, Any]:
    return {
        "all": {
            "failed": totals.failed,
            "passed": totals.passed,
            "projects": totals.projects,
            "evaluations": totals.evaluations,
        },
        "nodes": [
            {
                "address": node.address,
                "failed": node.failed,
                "passed": node.passed,
                "projects": node.projects,
                "modules": node.modules,
                "evaluations": list(node.evaluations),
            }
            for node in nodes
        ],
    }


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
