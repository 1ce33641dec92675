"""Real nodes: a grade comes from the staff's tests alone, and without them unusual test files are told."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.support.github import FakeGitHub
from tests.support.mesh import RunningMesh, mesh, wait_for, zip_of

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(180)]

STAFF = {
    "tests/helpers.py": "def check(got, wanted):\n    assert got == wanted\n",
    "tests/test_calc.py": (
        "import calc\nfrom helpers import check\n\ndef test_here():\n    pass\n\n"
        "def test_add():\n    check(calc.add(1, 2), 3)\n"
    ),
}
RIGHT, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n"
PASSES = "def test_add():\n    pass\n"
FORGES = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    outcome.get_result().outcome = "passed"
"""
STANDS_IN = f"import os\n__file__ = os.path.dirname(__file__) + '.py'\n{PASSES}"
EASY = "[pytest]\naddopts = -k 'not add'\n"

# What a student sends to pass with a wrong answer; all of it has calc.py besides.
CHEATS: Mapping[str, Mapping[str, str]] = {
    "own-tests": {"tests/test_calc.py": PASSES, "tests/helpers.py": "def check(*_): pass"},
    "conftest": {"conftest.py": FORGES, "tests/conftest.py": FORGES},
    "conftest-leaves": {"tests/conftest.py": "import os; os._exit(0)"},
    "settings": {  # each comes into force where those before it are gone
        "pytest.toml": "[pytest]\naddopts = ['-k', 'not add']\n",
        "pytest.ini": EASY,
        ".pytest.ini": EASY,
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n",
        "tox.ini": EASY,
        "setup.cfg": "[tool:pytest]\npython_functions = test_here\n",
        "evil.py": FORGES,
    },
    "settings-beside": {
        "tests/pytest.ini": EASY,
        "tests/tox.ini": EASY,
        "tests/setup.cfg": EASY.replace("[pytest]", "[tool:pytest]"),
        "tests/pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-k here'\n",
    },
    "package-skips": {"tests/__init__.py": "import pytest\npytest.skip('all', allow_module_level=True)"},
    "package-leaves": {"tests/__init__.py": "import os; os._exit(0)"},
    "package-in-place-of-the-tests": {"tests/test_calc/__init__.py": STANDS_IN},
    "package-in-place-of-a-helper": {"tests/helpers/__init__.py": "def check(*_): pass"},
    "library-in-place-of-the-tests": {"tests/test_calc.abi3.so": "no library"},
    "folder-in-place-of-the-tests": {"tests/test_calc.py/test_x.py": PASSES},
    "file-in-place-of-the-folder": {"tests": "a file"},
    "other-case": {"Tests/test_calc.py": PASSES, "tests/Test_Calc.py": PASSES, "TESTS/test_calc.py": PASSES},
    "more-tests": {f"tests/test_more_{number}.py": PASSES for number in range(5)},
    "shadows-pytest": {"pytest.py": "def main(*a, **k): return 0", "_pytest/__init__.py": "", "pluggy.py": ""},
    "starts-at-once": {"sitecustomize.py": "import os; os._exit(0)", "usercustomize.py": "import os; os._exit(0)"},
}


@pytest.fixture(scope="module")
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as running:
        yield running


@pytest.fixture(scope="module")
def shared(github: FakeGitHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with mesh(tmp_path_factory.mktemp("staff"), 2, MESH_GITHUB_API=github.api) as running:
        yield running


def graded(shared: RunningMesh, projects: Mapping[str, str], staff: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Submitted to one node, read from the other, which must say the same."""
    files = {"file": ("class.zip", zip_of(projects))} | ({"tests": ("exam.zip", zip_of(staff))} if staff else {})
    answer = requests.post(f"{shared[0].url}/evaluation", files=files, timeout=60)
    assert answer.status_code == 202, answer.text
    return ended_alike(shared, answer.json()["id"])


def ended_alike(shared: RunningMesh, evaluation_id: str) -> dict[str, Any]:
    document = shared[0].wait_done(evaluation_id)
    wait_for(lambda: shared[1].get(f"/evaluation/{evaluation_id}") == document, what="both nodes to say the same")
    return document


def submission(prefix: str = "") -> dict[str, str]:
    projects = {"right": {"calc.py": RIGHT}} | {name: {"calc.py": WRONG, **files} for name, files in CHEATS.items()}
    return {f"{prefix}{name}/{path}": text for name, files in projects.items() for path, text in files.items()}


def details(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: project["detail"] for name, project in document["projects"].items()}


def test_a_grade_comes_from_the_staffs_tests_alone(shared: RunningMesh) -> None:
    document = graded(shared, submission(), STAFF)
    assert list(document["projects"]) == sorted(["right", *CHEATS])
    expected = {
        "tests/test_calc.py": {"verdict": "failed", "passed": 1, "failed": 1, "errors": 0},
    }
    for name in CHEATS:
        found = {
            module: {key: result[key] for key in ("verdict", "passed", "failed", "errors")}
            for module, result in document["module_results"][name].items()
        }
        assert found == expected, (name, document["module_results"][name])
    assert document["projects"]["right"]["nota"] == 20.0

    told = details(document)
    assert told["own-tests"] == "replaced by the staff's tests: tests/helpers.py, tests/test_calc.py"
    added = "added by the staff's tests: tests/test_calc.py"
    assert told["right"] == added
    assert told["more-tests"] == f"{added}; not run: " + ", ".join(f"tests/test_more_{n}.py" for n in range(5))
    assert "left out, since the staff's tests would obey it: conftest.py, tests/conftest.py" in told["conftest"]
    assert "pytest's settings that do not count: addopts (pytest.toml)" in told["settings"]
    assert "replaced by the staff's tests: tests/test_calc.py/test_x.py" in told["folder-in-place-of-the-tests"]


def test_folders_that_wrap_the_class_and_the_staffs_tests_change_nothing(shared: RunningMesh) -> None:
    wrapped = {
        f"class/{path}": text for path, text in submission().items() if path.startswith(("right/", "own-tests/"))
    }
    document = graded(shared, wrapped, {f"exam/{path}": text for path, text in STAFF.items()})
    assert {name: project["nota"] for name, project in document["projects"].items()} == {
        "right": 20.0,
        "own-tests": 10.0,
    }
    assert "replaced by the staff's tests: tests/helpers.py, tests/test_calc.py" in details(document)["own-tests"]


def test_the_staffs_own_conftest_and_configuration_count(shared: RunningMesh) -> None:
    staff = {
        "setup.cfg": "[tool:pytest]\npython_functions = check_*\n",
        "tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef three():\n    return 3\n",
        "tests/test_calc.py": "import calc\n\ndef check_add(three):\n    assert calc.add(1, 2) == three\n",
    }
    student = {
        "ana/src/calc.py": RIGHT,
        "ana/pyproject.toml": "[tool.pytest.ini_options]\npythonpath = 'nowhere'\naddopts = '--co'\n",
        "ana/tests/conftest.py": FORGES,
        "rui/src/calc.py": WRONG,
        "rui/tests/conftest.py": FORGES,
    }
    document = graded(shared, student, staff | {"setup.cfg": staff["setup.cfg"] + "pythonpath = src\n"})
    assert {name: project["nota"] for name, project in document["projects"].items()} == {"ana": 20.0, "rui": 0.0}
    without = {path: text for path, text in staff.items() if path != "setup.cfg"}
    layout = {"ana/src/calc.py": RIGHT, "ana/pytest.ini": "[pytest]\npythonpath = src\n"}
    document = graded(shared, layout, {path: text.replace("check_", "test_") for path, text in without.items()})
    assert document["projects"]["ana"]["nota"] == 20.0, "where its own code lies is for the project to say"


# Without the staff's tests ------------------------------------------------------------------

TEMPLATE = {"tests/test_a.py": "def test_a():\n    assert 1\n", "tests/test_b.py": "def test_b():\n    assert 1\n"}
CLASS: Mapping[str, Mapping[str, str]] = {
    "ana": TEMPLATE,
    "bea": TEMPLATE,
    "eva": {path: text.replace("\n", "\r\n") for path, text in TEMPLATE.items()} | {"tests/test_own.py": PASSES},
    "rui": {"tests/test_a.py": "def test_a():\n    pass\n"},
    "zé": TEMPLATE | {"conftest.py": "# helps\n"},
}
TOLD = {"ana": "", "bea": "", "eva": ""} | {
    "rui": "differs from most projects: tests/test_a.py; missing: tests/test_b.py",
    "zé": "in few projects: conftest.py",
}


def test_unusual_test_files_of_a_zip_are_told_and_a_rerun_keeps_that(shared: RunningMesh) -> None:
    document = graded(shared, {f"{name}/{path}": text for name, files in CLASS.items() for path, text in files.items()})
    assert details(document) == TOLD
    assert {project["nota"] for project in document["projects"].values()} == {20.0}, "it is told, not punished"
    url = f"{shared[1].url}/evaluation/{document['id']}/rerun"
    again = requests.post(url, params={"project": "rui"}, timeout=30).json()["id"]
    assert details(ended_alike(shared, again)) == {"rui": TOLD["rui"]}


def test_unusual_test_files_of_repositories_are_told_by_every_node(github: FakeGitHub, shared: RunningMesh) -> None:
    names = {name: f"lab-{number}" for number, name in enumerate(CLASS)}
    for name, files in CLASS.items():
        github.add(f"class/{names[name]}", files)
    urls = [f"https://github.com/class/{name}" for name in names.values()]
    answer = requests.post(
        f"{shared[0].url}/evaluation", json={"projects": [*urls, "https://github.com/class/missing"]}, timeout=30
    )
    document = ended_alike(shared, answer.json()["id"])
    told = details(document)
    assert "not found" in told.pop("class-missing").lower()
    assert told == {f"class-{names[name]}": note for name, note in TOLD.items()}
    url = f"{shared[1].url}/evaluation/{document['id']}/rerun"
    project = f"class-{names['rui']}"
    again = requests.post(url, params={"project": project}, timeout=30).json()["id"]
    assert details(ended_alike(shared, again)) == {project: TOLD["rui"]}
