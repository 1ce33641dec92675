"""The bench from end to end, on small corpora: results are equal to plain pytest's. What it took is not looked at."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import main

pytestmark = pytest.mark.mesh


@pytest.mark.timeout(300)
def test_all_results_of_the_waiting_corpus_are_equal_to_plain_pytests(tmp_path: Path) -> None:
    report = tmp_path / "performance.md"
    status = main(["--quick", "--only", "waiting", "--repeat", "1", "--write", str(report)])
    text = report.read_text()
    assert status == 0, text
    assert "equal to plain pytest's" in text
    assert "ours 2 of 2 modules right in every run" in text
    bars = [element for element in ElementTree.parse(tmp_path / "performance.svg").iter() if "rect" in element.tag]
    assert len(bars) == 2
