"""PURE. Test files that differ from what most projects of an evaluation ship.

Without the staff's tests a grade comes from the tests that each project brings. A class works from one template, so a
test file that one project changed or dropped is worth a look. Nothing is decided here: people are told.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from testmesh.model import Project
from testmesh.testing.notes import joined, listed
from testmesh.testing.pytest_config import DEDICATED

MAX_COMPARED = 500  # files of one project
_LEAST = 3  # projects that make a majority
_DIGEST = 10  # bytes: nobody finds another content for a given digest of 80 bits
_BOM = b"\xef\xbb\xbf"


def digest_of(content: bytes, size: int) -> str:
    """What two test files have in common that say the same: not their line ends, nor how the last line ends.

    Args:
        content: the file, or its beginning.
        size: of the whole file, in bytes.
    """
    text = content.removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip()
    rest = b"" if size == len(content) else b"%d" % size
    return hashlib.blake2b(text, digest_size=_DIGEST, salt=rest[:16]).hexdigest()


def is_support(path: str) -> bool:
    """Whether a file is no test, but has a say in how tests run."""
    name = path.rpartition("/")[2]
    return name == "conftest.py" or name in DEDICATED


def compare(projects: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Notes by project, of those with anything to tell.

    A file differs where more than half of the projects that have its path, and at least 3, agree on other contents. It
    is missing where more than half of all projects, and at least 3, have it. A conftest.py or a configuration of
    pytest is told where as many have none, though they share a test file.

    Args:
        projects: of each its test files, by paths relative to it, with their digests.
    """
    contents: dict[str, Counter[str]] = {}
    for files in projects.values():
        for path, digest in files.items():
            contents.setdefault(path, Counter())[digest] += 1
    usual: dict[str, str] = {}
    expected: set[str] = set()
    unexpected: set[str] = set()
    for path, found in contents.items():
        having = found.total()
        digest, agreeing = found.most_common(1)[0]
        if _is_most(agreeing, having):
            usual[path] = digest
        if _is_most(having, len(projects)):
            expected.add(path)
        if is_support(path) and _is_most(len(projects) - having, len(projects)):
            unexpected.add(path)
    if not any(path in expected and path in usual and not is_support(path) for path in contents):
        unexpected.clear()  # they do not have the same task, so each has its own way
    notes = {}
    for name, files in projects.items():
        note = joined(
            (
                listed("differs from most projects", sorted(p for p, d in files.items() if usual.get(p, d) != d)),
                listed("missing", sorted(expected - files.keys())),
                listed("in few projects", sorted(unexpected & files.keys())),
            )
        )
        if note:
            notes[name] = note
    return notes


def notes_of(projects: Iterable[Project]) -> dict[str, str]:
    """`compare` of those projects whose test files are known, by name."""
    return compare({project.name: dict(project.test_files) for project in projects if project.test_files})


def noted(projects: Sequence[Project]) -> tuple[Project, ...]:
    """The projects with their notes in `detail` for good; their test files have served their purpose."""
    notes = notes_of(projects)
    return tuple(
        replace(project, detail=joined((project.detail, notes.get(project.name, ""))), test_files=())
        for project in projects
    )


def _is_most(count: int, of: int) -> bool:
    return count >= _LEAST and 2 * count > of
