"""PURE: the grades as CSV (RFC 4180), a row a project, for Excel and LibreOffice."""

import csv
import io
from collections import Counter
from typing import Any

from testmesh.app.exports.texts import harmless_cell
from testmesh.model import Verdict

_BOM = "\ufeff"  # by it Excel knows that this is UTF-8
COLUMNS = (
    *("project", "nota", "%passed", "passed", "failed", "skipped", "modules"),
    *(f"modules {verdict.value}" for verdict in Verdict),
    *("status", "detail"),
)


def results_csv(document: dict[str, Any]) -> bytes:
    """`document` is that of spec section 3. `failed` has the errors in it; a grade that there is not is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    for name, project in document["projects"].items():
        modules = list(document["module_results"].get(name, {}).values())
        verdicts = Counter(module["verdict"] for module in modules)
        writer.writerow(
            [
                harmless_cell(name),
                _number(project["nota"]),
                _number(project["%passed"]),
                sum(module["passed"] for module in modules),
                sum(module["failed"] + module["errors"] for module in modules),
                sum(module["skipped"] for module in modules),
                len(modules),
                *(verdicts[verdict] for verdict in Verdict),
                project["status"],
                harmless_cell(project["detail"]),
            ]
        )
    return (_BOM + text.getvalue()).encode("utf-8", "replace")


def _number(value: float | None) -> float | str:
    return "" if value is None else value
