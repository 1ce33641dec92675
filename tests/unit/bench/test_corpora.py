"""The corpora are what the table says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.corpora import computing, small, waiting
from bench.corpora.corpus import Corpus
from bench.systems.run import passed

MAKERS: list[Callable[[Path, bool], Corpus]] = [waiting.make, small.tiny, small.cold, small.environments]


def modules_of(corpus: Corpus) -> set[tuple[str, str]]:
    return {
        (project, path.relative_to(corpus.folder / project).as_posix())
        for project in corpus.projects
        for path in (corpus.folder / project).rglob("test_*.py")
    }


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("quick", [True, False])
def test_what_must_come_out_is_known_of_every_module(
    tmp_path: Path, make: Callable[[Path, bool], Corpus], quick: bool
) -> None:
    corpus = make(tmp_path, quick)
    assert corpus.known.keys() == modules_of(corpus)


def test_the_waiting_one_has_32_modules_of_8_projects_and_61_of_64_tests_pass(tmp_path: Path) -> None:
    corpus = waiting.make(tmp_path, False)
    assert (len(corpus.projects), len(corpus.known), passed(corpus.known)) == (8, 32, 61)
    assert sum(outcome.failed for outcome in corpus.known.values()) == 3


def test_its_students_share_the_test_files_and_the_ports_collide(tmp_path: Path) -> None:
    corpus = waiting.make(tmp_path, False)
    assert len({path.read_bytes() for path in tmp_path.glob("*/tests/test_late.py")}) == 1
    ports = [line for path in tmp_path.glob("*/course.py") for line in path.read_text().splitlines() if "PORT" in line]
    assert len(set(ports)) < len(ports) == len(corpus.projects)


def test_the_quick_one_has_a_test_that_fails_on_purpose(tmp_path: Path) -> None:
    assert any(outcome.failed for outcome in waiting.make(tmp_path, True).known.values())


def test_tiny_has_400_modules_of_one_project(tmp_path: Path) -> None:
    corpus = small.tiny(tmp_path, False)
    assert (corpus.projects, len(corpus.known)) == (["tiny"], 400)


def test_ten_projects_have_ten_sets_of_requirements(tmp_path: Path) -> None:
    small.environments(tmp_path, False)
    assert len({path.read_text() for path in tmp_path.glob("*/requirements.txt")}) == 10


def test_cold_has_ten_requirements_and_imports_all(tmp_path: Path) -> None:
    small.cold(tmp_path, False)
    assert len((tmp_path / "cold" / "requirements.txt").read_text().split()) == 10
    assert (tmp_path / "cold" / "tests" / "test_imports.py").read_text().count("import ") == 10


def test_no_two_mixed_modules_are_equal(tmp_path: Path) -> None:
    corpus = small.mixed(tmp_path, "mixed", 5, True)
    assert len({(tmp_path / project / module).read_bytes() for project, module in modules_of(corpus)}) == 5


def test_the_small_computing_one_is_known(tmp_path: Path) -> None:
    corpus = computing.make_small(tmp_path)
    assert corpus.known.keys() == modules_of(corpus)
