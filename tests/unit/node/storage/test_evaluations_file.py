"""The file for people is written where it can be, and is no reason to stop where it cannot."""

import json
from pathlib import Path

import pytest

from testmesh.node.storage.evaluations_file import EvaluationsFile
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from tests.support.records import evaluation
from tests.support.waiting import until


@pytest.mark.parametrize("there_was", [None, b"\0garbage", b'{"evaluations": ['])
def test_it_is_written_when_an_evaluation_ends_whatever_was_there(tmp_path: Path, there_was: bytes | None) -> None:
    path, ledger = tmp_path / "evaluations.json", Ledger(MemoryStore())
    if there_was is not None:
        path.write_bytes(there_was)
    file = EvaluationsFile(path, ledger, lambda: [{"id": "e1"}])
    ledger.merge(Changes((evaluation("e1", finished_at=9.0),)), publish=False)
    until(lambda: path.exists() and path.read_bytes() != there_was)
    file.stop()
    assert json.loads(path.read_bytes()) == {"evaluations": [{"id": "e1"}]}


@pytest.mark.parametrize("name", ["evaluations.json", "evaluations.part"])
def test_a_folder_in_its_place_is_a_warning(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / name / "in it").mkdir(parents=True)
    file = EvaluationsFile(tmp_path / "evaluations.json", Ledger(MemoryStore()), list)
    file.write()
    file.stop()
    assert ["could not write" in record.getMessage() for record in caplog.records] == [True]
    assert (tmp_path / name / "in it").is_dir()
