"""The export paths; what is in the files is looked at beside their builders."""

import pytest
from flask.testing import FlaskClient

from testmesh.app.exports.report_html import POLICY
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished
from tests.unit.app.test_submissions import problem

FILES = {
    "results.csv": ("text/csv; charset=utf-8", f'attachment; filename="results-{KNOWN_ID}.csv"'),
    "junit.xml": ("application/xml; charset=utf-8", f'attachment; filename="junit-{KNOWN_ID}.xml"'),
    "report.html": ("text/html; charset=utf-8", f'inline; filename="report-{KNOWN_ID}.html"'),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_with_its_type_and_a_name(client: FlaskClient, node: FakeNode, name: str) -> None:
    add_finished(node)
    answer = client.get(f"/evaluation/{KNOWN_ID}/{name}")
    assert (answer.status_code, answer.headers["Content-Type"], answer.headers["Content-Disposition"]) == (
        200,
        *FILES[name],
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "project-a" in answer.text


@pytest.mark.parametrize("name", FILES)
def test_what_nobody_knows_has_no_files(client: FlaskClient, name: str) -> None:
    problem(client.get(f"/evaluation/{KNOWN_ID}/{name}"), 404)
    problem(client.get(f"/evaluation/x/{name}"), 404)
    problem(client.get(f"/evaluation/{KNOWN_ID}/{name}?x=1"), 400)


def test_the_report_has_a_policy_of_its_own_and_the_others_have_not(client: FlaskClient, node: FakeNode) -> None:
    add_finished(node)
    assert client.get(f"/evaluation/{KNOWN_ID}/report.html").headers["Content-Security-Policy"] == POLICY
    assert "style-src" not in client.get(f"/evaluation/{KNOWN_ID}/junit.xml").headers["Content-Security-Policy"]
