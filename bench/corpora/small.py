"""Projects of modules that do next to nothing, or differ in what they require."""

from collections.abc import Sequence
from pathlib import Path

from bench.corpora.corpus import Corpus, numbered, write_files
from bench.reference import Outcome

# As students use them: distribution, and the name it is imported by.
REQUIREMENTS = (
    ("attrs", "attr"),
    ("click", "click"),
    ("flask", "flask"),
    ("jinja2", "jinja2"),
    ("packaging", "packaging"),
    ("python-dateutil", "dateutil"),
    ("pyyaml", "yaml"),
    ("requests", "requests"),
    ("rich", "rich"),
    ("tabulate", "tabulate"),
)
_TINY = "def test_{number}():\n    assert {number} + 1 > {number}\n"
_MIXED = """import time


def test_computes_and_waits():
    end = time.process_time() + {computing}
    while time.process_time() < end:
        pass
    time.sleep({waiting})
"""


def tiny(folder: Path, quick: bool) -> Corpus:
    """One project of 400 modules of one trivial test, twenty in a folder as people keep them.

    pytest looks at every file beside the one that it is asked for: in one folder of 400 it would do little else.
    """
    names = [f"tests/part_{n // 20:02}/test_{n:03}" for n in range(8 if quick else 400)]
    write_files(folder / "tiny", {f"{name}.py": _TINY.format(number=n) for n, name in enumerate(names)})
    write_files(folder / "tiny", {"requirements.txt": ""})
    return Corpus("tiny", folder, {("tiny", f"{name}.py"): Outcome(passed=1) for name in names})


def requiring(folder: Path, name: str, requirements: Sequence[tuple[str, str]]) -> None:
    """A project with these requirements and one module that imports them all."""
    lines = "".join(f"    import {module}\n" for _, module in requirements)
    wanted = "".join(f"{distribution}\n" for distribution, _ in requirements)
    test = f"def test_requirements_are_there():\n{lines}"
    write_files(folder / name, {"requirements.txt": wanted, "tests/test_imports.py": test})


def cold(folder: Path, quick: bool) -> Corpus:
    """One project with ten requirements."""
    requiring(folder, "cold", REQUIREMENTS[:2] if quick else REQUIREMENTS)
    return Corpus("cold", folder, {("cold", "tests/test_imports.py"): Outcome(passed=1)})


def environments(folder: Path, quick: bool) -> Corpus:
    """Ten projects with ten different sets of requirements, two each."""
    count = 2 if quick else len(REQUIREMENTS)
    for number in range(count):
        chosen = (REQUIREMENTS[number], REQUIREMENTS[(number + 3) % len(REQUIREMENTS)])
        requiring(folder, f"environment-{number}", chosen)
    known = {(f"environment-{n}", "tests/test_imports.py"): Outcome(passed=1) for n in range(count)}
    return Corpus("environments", folder, known)


def mixed(folder: Path, name: str, modules: int, quick: bool) -> Corpus:
    """One project whose modules compute a little and wait a little."""
    computing, waiting = (0.02, 0.02) if quick else (0.2, 0.3)
    names = list(numbered("tests/test_", modules))
    # A line that differs: equal files would be predicted by each other's times.
    test = _MIXED.format(computing=computing, waiting=waiting)
    write_files(folder / name, {f"{module}.py": f"# {name} {module}\n{test}" for module in names})
    write_files(folder / name, {"requirements.txt": ""})
    return Corpus(name, folder, {(name, f"{module}.py"): Outcome(passed=1) for module in names})
