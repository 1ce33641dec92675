"""PURE: an evaluation as text for other programs."""

import csv
import io
import json

from testmesh.client.summary import Document, project_rows
from testmesh.client.text import spreadsheet_cell

_COLUMNS = ("project", "nota", "%passed", "passed", "failed", "skipped", "modules", "status", "reason")


def as_json(document: Document) -> str:
    return json.dumps(document, indent=2) + "\n"


def as_csv(document: Document) -> str:
    """One row a project; text cannot become a formula."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in project_rows(document):
        writer.writerow(
            [
                spreadsheet_cell(row.name),
                "" if row.nota is None else row.nota,
                "" if row.percent is None else row.percent,
                row.passed,
                row.failed,
                row.skipped,
                row.modules,
                row.status,
                spreadsheet_cell(row.reason),
            ]
        )
    return target.getvalue()
