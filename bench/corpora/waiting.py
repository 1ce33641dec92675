"""Course projects: message brokers whose tests start servers at fixed ports, sleep, and wait on sockets."""

import shutil
from pathlib import Path

from bench.corpora.corpus import Corpus, Key, write_files
from bench.reference import Outcome

_TEMPLATE = Path(__file__).with_name("broker")
_MODULES = ("tests/test_delivery.py", "tests/test_late.py", "tests/test_topics.py", "tests/test_tree.py")
_QUICK_MODULES = ("tests/test_late.py", "tests/test_tree.py")
_PASS, _FAIL = Outcome(passed=2), Outcome(passed=1, failed=1)
_QUICK_PACE = 0.05
# What three of the eight got wrong: each makes one test fail.
_KEEPS_NO_LAST = frozenset({2, 5})
_DOES_NOT_UNSUBSCRIBE = frozenset({7})


def make(folder: Path, quick: bool) -> Corpus:
    """Eight projects of four modules of two tests, 61 of 64 right; one after the other about 200 s of waiting.

    `quick`: one project, two modules of two tests, three of them right.
    """
    known: dict[Key, Outcome] = {}
    modules = _QUICK_MODULES if quick else _MODULES
    left_out = [Path(module).name for module in _MODULES if module not in modules]
    for number in [2] if quick else range(8):
        project = folder / f"broker-{number}"
        shutil.copytree(_TEMPLATE, project, ignore=shutil.ignore_patterns("__pycache__", "README.md", *left_out))
        mistakes = {
            "tests/test_late.py": number in _KEEPS_NO_LAST,
            "tests/test_topics.py": number in _DOES_NOT_UNSUBSCRIBE,
        }
        course = [
            f"PORT = {5000 + number % 2}",
            f"PACE = {_QUICK_PACE if quick else 1.0}",
            f"KEEPS_LAST = {not mistakes['tests/test_late.py']}",
            f"UNSUBSCRIBES = {not mistakes['tests/test_topics.py']}",
        ]
        write_files(project, {"course.py": "\n".join([*course, ""])})
        known |= {(project.name, module): _FAIL if mistakes.get(module) else _PASS for module in modules}
    return Corpus("waiting", folder, known)
