"""The app against its own OpenAPI document: nothing undocumented, never a 5xx, whatever comes in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection

from testmesh.app.factory import create_app
from testmesh.settings import Settings
from tests.support.fake_node import FakeNode, add_finished

OPERATIONS = [
    "GET /evaluation",
    "POST /evaluation",
    "GET /evaluation/{id}",
    "DELETE /evaluation/{id}",
    "GET /evaluation/{id}/tests",
    "GET /evaluation/{id}/events",
    "GET /evaluation/{id}/results.csv",
    "GET /evaluation/{id}/junit.xml",
    "GET /evaluation/{id}/report.html",
    "POST /evaluation/{id}/rerun",
    "GET /stats",
    "GET /network",
    "GET /peers",
    "GET /health",
    "GET /nodes",
    "GET /metrics",
]
TAKE_NOTHING = ("GET /stats", "GET /network", "GET /peers", "GET /health", "GET /metrics")  # nothing to get wrong


@pytest.fixture(autouse=True, scope="module")
def _format() -> None:
    name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}", fullmatch=True)
    urls = st.builds("{}://github.com/{}/{}{}".format, st.sampled_from(["http", "https"]), name, name, _TAILS)
    schemathesis.openapi.format("github-repository", urls)


_TAILS = st.sampled_from(["", "/", ".git", "/tree/main", "/tree/a/b"])


@pytest.fixture
def operations(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Every documented operation by its label, of an app whose node has one evaluation."""
    node = FakeNode(tmp_path)
    add_finished(node)
    app = create_app(node, Settings(data_dir=tmp_path, callback_secret="a-secret-of-the-tests"))
    schema = schemathesis.openapi.from_wsgi("/openapi/openapi.json", app)
    found = (result.ok() for result in schema.get_all_operations() if isinstance(result, Ok))
    yield {operation.label: operation for operation in found}
    assert list(tmp_path.iterdir()) == [], "nothing of a submission may be left in the incoming folder"


def test_the_document_has_every_public_operation(operations: dict[str, Any]) -> None:
    assert sorted(operations) == sorted(OPERATIONS)


def _cases() -> Iterator[tuple[str, GenerationMode]]:
    for label in OPERATIONS:
        yield label, GenerationMode.POSITIVE
        if label not in TAKE_NOTHING:
            yield label, GenerationMode.NEGATIVE


@pytest.mark.parametrize(("label", "mode"), list(_cases()))
def test_every_answer_is_the_documented_one(operations: dict[str, Any], label: str, mode: GenerationMode) -> None:
    operation = operations[label]

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        # A form has only strings: what breaks the schema of one may be nothing, or plain content, once it is sent.
        form = case.media_type == "multipart/form-data"
        case.call_and_validate(excluded_checks=[negative_data_rejection] if form else [])

    check()
