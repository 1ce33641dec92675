"""The staff's tests replace the student's, and what that did is told."""

import unicodedata

import pytest

from testmesh.errors import NothingToTestError
from testmesh.model import Project
from testmesh.testing.detection import detect
from testmesh.testing.overlay import Overlaid, overlay_project, overlay_root, plan_layer
from testmesh.testing.tree import MemoryTree, Tree

TEST = "def test_it(): pass\n"


def tree(files: dict[str, str]) -> Tree:
    return MemoryTree({path: content.encode() for path, content in files.items()})


def graded(student: dict[str, str], staff: dict[str, str]) -> dict[str, Project]:
    return {project.name: project for project in detect(tree(student), "upload", tree(staff))}


def paths(project: Project) -> list[str]:
    return [module.path for module in project.modules]


def laid(student: dict[str, str], staff: dict[str, str], own_tests: tuple[str, ...] = ()) -> Overlaid:
    return overlay_project(tree(student), own_tests, tree(staff), [path for path in staff if "test_" in path])


def removed(student: dict[str, str], staff: dict[str, str]) -> set[str]:
    return set(plan_layer(tree(student), tree(staff)).removed)


def ini(student: dict[str, str], staff: dict[str, str]) -> str | None:
    content = plan_layer(tree(student), tree(staff)).written.get("pytest.ini")
    return None if content is None else content.decode()


def test_only_the_staffs_modules_are_run_in_every_project() -> None:
    student = {
        "ana/requirements.txt": "",
        "ana/tests/test_mine.py": TEST,
        "ana/tests/test_a.py": "cheat",
        "rui/calc.py": "",
        "rui/test_own.py": TEST,
    }
    found = graded(student, {"tests/test_a.py": TEST, "tests/test_b.py": TEST})
    assert {name: paths(project) for name, project in found.items()} == {
        "ana": ["tests/test_a.py", "tests/test_b.py"],
        "rui": ["tests/test_a.py", "tests/test_b.py"],
    }
    assert found["ana"].detail == (
        "replaced by the staff's tests: tests/test_a.py; added by the staff's tests: tests/test_b.py; "
        "not run: tests/test_mine.py"
    )
    assert found["rui"].detail == "added by the staff's tests: tests/test_a.py, tests/test_b.py; not run: test_own.py"


def test_an_archive_of_many_configurations_is_not_read_for_ever() -> None:
    settings = "[tool.pytest.ini_options]\n#" + "x" * 200_000
    student = {f"p{number:02}/{name}": settings for number in range(40) for name in ("pyproject.toml", "app.py")}
    found = graded(student, {"test_a.py": TEST})
    assert len(found) == 40
    assert all(project.detail == "added by the staff's tests: test_a.py" for project in found.values())


def test_a_file_that_is_the_same_was_not_replaced() -> None:
    assert graded({"p/setup.py": "", "p/test_a.py": TEST, "q": ""}, {"test_a.py": TEST})["p"].detail == ""


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (["staff/tests/test_a.py", "staff/conftest.py"], "staff"),
        (["staff/tests/test_a.py", "__MACOSX/x", ".DS_Store"], "staff"),
        (["tests/test_a.py"], ""),
        (["Tests/test_a.py"], ""),
        (["tests/test_a.py", "conftest.py"], ""),
        ([], ""),
    ],
)
def test_the_wrapping_folder_is_stripped_unless_it_is_the_tests(files: list[str], root: str) -> None:
    assert overlay_root(files) == root


def test_a_wrapped_overlay_lands_where_its_paths_say() -> None:
    found = graded({"calc.py": "", "tests/test_a.py": "x"}, {"exam/tests/test_a.py": TEST})
    assert paths(found["upload"]) == ["tests/test_a.py"]
    assert found["upload"].detail == "replaced by the staff's tests: tests/test_a.py"


def test_the_students_configuration_does_not_hide_the_staffs_tests() -> None:
    student = {
        "pytest.ini": "[pytest]\ntestpaths = nowhere mine\npython_files = mine_*.py\nnorecursedirs = tests\n",
        "mine/mine_a.py": TEST,
    }
    (project,) = graded(student, {"tests/test_a.py": TEST}).values()
    assert paths(project) == ["tests/test_a.py"]
    assert project.detail == (
        "added by the staff's tests: tests/test_a.py; not run: mine/mine_a.py; pytest's settings that do not count: "
        "testpaths (pytest.ini), python_files (pytest.ini), norecursedirs (pytest.ini)"
    )


def test_the_staffs_configuration_counts() -> None:
    staff = {"pytest.ini": "[pytest]\npython_files = check_*.py\n", "check_a.py": TEST, "test_helper.py": ""}
    (project,) = graded({"app.py": ""}, staff).values()
    assert paths(project) == ["check_a.py"]


def test_a_conftest_above_the_staffs_tests_is_left_out_and_told() -> None:
    student = {"conftest.py": "1", "tests/conftest.py": "2", "other/conftest.py": "3", "tests/unit/conftest.py": "4"}
    staff = {"tests/unit/test_a.py": TEST, "tests/unit/conftest.py": "staff"}
    found = laid(student, staff)
    assert set(found.tree.files()) == {"other/conftest.py", "pytest.ini", *staff}
    assert found.tree.read("tests/unit/conftest.py", 10) == b"staff"
    assert "replaced by the staff's tests: tests/unit/conftest.py;" in found.detail
    assert "left out, since the staff's tests would obey it: conftest.py, tests/conftest.py" in found.detail


def test_files_and_folders_in_the_way_are_replaced() -> None:
    student = {"tests": "a file", "data/x/deep.txt": "1", "data/y.txt": "2", "tests-old/a": "", "pytest.ini/x": ""}
    found = laid(student, {"tests/test_a.py": TEST, "data/x": "a file"})
    assert "replaced by the staff's tests: data/x/deep.txt, pytest.ini/x, tests;" in found.detail
    assert set(found.tree.files()) == {"tests/test_a.py", "data/x", "data/y.txt", "tests-old/a", "pytest.ini"}
    assert found.tree.read("data/x", 10) == b"a file"
    assert found.tree.read("data/y.txt", 10) == b"2"
    assert found.tree.read("pytest.ini", 8) == b"[pytest]"


@pytest.mark.parametrize(
    ("theirs", "staff"),
    [
        ("tests/test_a/__init__.py", "tests/test_a.py"),
        ("tests/test_a/__init__.cpython-311-x86_64-linux-gnu.so", "tests/test_a.py"),
        ("tests/test_a.cpython-311-x86_64-linux-gnu.so", "tests/test_a.py"),
        ("tests/test_a.abi3.so", "tests/test_a.py"),
        ("tests/test_a.so", "tests/test_a.py"),
        ("tests/test_a.pyc", "tests/test_a.py"),
        ("tests/helpers/__init__.py", "tests/helpers.py"),
        ("tests/conftest/__init__.py", "tests/conftest.py"),
        ("checks/__init__.abi3.so", "checks/__init__.py"),
        ("tests/__init__.py", "tests/test_a.py"),
        ("Tests/unit/__init__.so", "Tests/unit/test_a.py"),
        ("conftest.py", "tests/test_a.py"),
        ("tests/Conftest.PY", "tests/test_a.py"),
        ("pytest.ini", "tests/test_a.py"),
        ("PyTest.ini", "tests/test_a.py"),
        (".pytest.toml", "test_a.py"),
        ("tests/pytest.toml", "tests/test_a.py"),
    ],
)
def test_what_would_decide_in_place_of_a_staffs_file_is_gone(theirs: str, staff: str) -> None:
    assert removed({theirs: "x", "app.py": ""}, {staff: TEST}) == {theirs}


@pytest.mark.parametrize(
    ("theirs", "staff"),
    [
        ("tests/test_a/data.txt", "tests/test_a.py"),
        ("tests/test_a/inner/__init__.py", "tests/test_a.py"),
        ("tests/unit/__init__.py", "tests/test_a.py"),
        ("tests/unit/conftest.py", "tests/test_a.py"),
        ("calc/__init__.py", "calc/test_a.py"),
        ("calc/__init__.py", "calc/tests/test_a.py"),
        ("calc.so", "calc/test_a.py"),
        ("calc.py", "calc/test_a.py"),
        ("pyproject.toml", "test_a.py"),
        ("lab/pyproject.toml", "lab/test_a.py"),
        ("conftest.txt", "test_a.py"),
        ("conftest.py", "data/expected.txt"),
    ],
)
def test_what_decides_nothing_stays(theirs: str, staff: str) -> None:
    assert removed({theirs: "[project]\n", "app.py": ""}, {staff: TEST}) == set()


@pytest.mark.parametrize("name", ["tox.ini", "setup.cfg", "pyproject.toml"])
def test_a_file_below_the_top_is_gone_only_where_it_configures_pytest(name: str) -> None:
    section = {"tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]", "pyproject.toml": "[tool.pytest.ini_options]"}[name]
    assert removed({f"tests/{name}": f"{section}\n"}, {"tests/test_a.py": TEST}) == {f"tests/{name}"}
    assert removed({f"tests/{name}": "[other]\n"}, {"tests/test_a.py": TEST}) == set()
    assert removed({name: f"{section}\n"}, {"tests/test_a.py": TEST}) == set()


NATIVE = '[tool.pytest]\npythonpath = ["src", "a b"]\naddopts = ["-k", "easy"]\n'


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ({}, "[pytest]\n"),
        ({"pytest.ini": "[pytest]\naddopts = -k easy\npython_functions = x\n"}, "[pytest]\n"),
        ({"tox.ini": "[pytest]\npythonpath = src\n  lib\n"}, "[pytest]\npythonpath = src lib\n"),
        ({"pyproject.toml": NATIVE}, "[pytest]\npythonpath = src 'a b'\n"),
        (
            {"setup.cfg": "[tool:pytest]\nasyncio_mode = auto\nusefixtures = evil\n"},
            "[pytest]\nasyncio_mode = auto\n",
        ),
        ({"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = "src\\u2028[x]"\n'}, "[pytest]\n"),
        ({"pyproject.toml": "[[[ broken"}, "[pytest]\n"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\npythonpath = 3\n"}, "[pytest]\n"),
    ],
)
def test_of_the_students_settings_only_those_about_the_layout_count(student: dict[str, str], expected: str) -> None:
    assert ini(student, {"tests/test_a.py": TEST}) == expected


@pytest.mark.parametrize(
    ("staff", "expected"),
    [
        ({"pytest.ini": "[pytest]\naddopts = -x\n"}, None),
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, None),
        ({"pyproject.toml": "[project]\n"}, "[pytest]\n"),
        ({"tests/pytest.ini": "[pytest]\n"}, "[pytest]\n"),
        ({"tox.ini": "[pytest]\naddopts = -x\n  -q\n[tox]\n"}, "[pytest]\naddopts = -x\n    -q\n"),
        ({"setup.cfg": "[tool:pytest]\npython_files = check_*.py\n"}, "[pytest]\npython_files = check_*.py\n"),
    ],
)
def test_the_staffs_settings_come_before_any_of_the_students(staff: dict[str, str], expected: str | None) -> None:
    student = {"pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--co'\n", ".pytest.toml": "[pytest]\n"}
    assert ini(student, staff | {"tests/test_a.py": TEST}) == expected
    assert ".pytest.toml" in removed(student, staff | {"tests/test_a.py": TEST})


def test_a_name_that_only_looks_alike_neither_replaces_nor_runs() -> None:
    nfc = "tests/test_adi\u00e7\u00e3o.py"
    others = [unicodedata.normalize("NFD", nfc), "Tests/test_adi\u00e7\u00e3o.py", "tests/Test_adi\u00e7\u00e3o.py"]
    (project,) = graded({"setup.py": "", **dict.fromkeys(others, TEST)}, {nfc: TEST}).values()
    assert paths(project) == [nfc]
    assert project.detail == f"added by the staff's tests: {nfc}; not run: {others[1]}, {others[0]}"


def test_what_stays_and_is_worth_a_look_is_told() -> None:
    student = {
        "pyproject.toml": (
            '[project.entry-points.pytest11]\nevil = "evil"\n'
            '[tool.testmesh]\nservices = [{command = "cp mine.py tests/test_a.py"}, {command = 3}, 4]\n'
        ),
        "random.py": "",
        "json/__init__.py": "",
        "tests/unittest.py": "",
        "lib/random.py": "",
        "plugin/setup.py": "entry_points={'pytest11': ['x = y']}",
        "app.py": "",
    }
    assert laid(student, {"tests/test_a.py": TEST}).detail == (
        "added by the staff's tests: tests/test_a.py; it declares a plugin of pytest: plugin/setup.py, pyproject.toml; "
        "named like modules of Python's own: json/__init__.py, random.py, tests/unittest.py; "
        "its pyproject.toml asks for services: cp mine.py tests/test_a.py"
    )
    staffs = {"tests/test_a.py": TEST, "pyproject.toml": "[project]\n", "random.py": ""}
    assert "services" not in laid(student, staffs).detail
    assert "its own: json/__init__.py, tests/unittest.py" in laid(student, staffs).detail.replace(
        "Python's own", "its own"
    )


def test_what_systems_and_editors_leave_in_zips_is_not_told() -> None:
    student = {".DS_Store": "1", "__MACOSX/._x": "1", ".idea/x.xml": "1", "tests/__init__.py": "", "app.py": ""}
    assert laid(student, dict.fromkeys(student, "2") | {"tests/test_a.py": TEST}).detail == (
        "replaced by the staff's tests: app.py, tests/__init__.py; added by the staff's tests: tests/test_a.py"
    )
    assert "left out" not in laid(student, {"tests/test_a.py": TEST}).detail


def test_projects_without_tests_of_their_own_are_graded() -> None:
    student = {
        "ana/calc.py": "",
        "rui/src/calc.py": "",
        "rui/tests/test_x.py": TEST,
        "notes/readme.txt": "",
        "run.py": "",
    }
    found = graded(student, {"test_calc.py": TEST})
    assert {name: project.root for name, project in found.items()} == {"ana": "ana", "rui": "rui"}


@pytest.mark.parametrize(
    ("student", "names"),
    [
        ({"calc.py": "", "lib/x.py": ""}, ["upload"]),
        ({"src/calc.py": "", "README.md": ""}, ["upload"]),
        ({"requirements.txt": "", "src/a.py": "", "lib/b.py": ""}, ["upload"]),
        ({"ana/calc.py": "", "rui/calc.py": ""}, ["ana", "rui"]),
        ({"ana/calc.py": "", "ana/docs/requirements.txt": "", "ana/docs/conf.py": "", "rui/a.py": ""}, ["ana", "rui"]),
        ({"g/ana/setup.py": "", "g/rui/setup.py": "", "x.txt": ""}, ["g/ana", "g/rui"]),
        ({"w/calc.py": ""}, ["w"]),
    ],
)
def test_where_no_test_is_the_code_says_what_a_project_is(student: dict[str, str], names: list[str]) -> None:
    assert sorted(graded(student, {"test_calc.py": TEST})) == names


@pytest.mark.parametrize(
    ("student", "staff"),
    [({"a.txt": ""}, {"test_a.py": TEST}), ({"calc.py": "", "test_a.py": TEST}, {"notes.txt": ""})],
)
def test_nothing_to_grade_is_an_error(student: dict[str, str], staff: dict[str, str]) -> None:
    with pytest.raises(NothingToTestError):
        graded(student, staff)


def test_ports_are_told_from_the_project_as_it_will_be() -> None:
    staff = {"tests/test_a.py": "from server import run"}
    (quiet,) = graded({"setup.py": "", "server.py": "def run(): pass"}, staff).values()
    (loud,) = graded({"setup.py": "", "server.py": "import socket"}, staff).values()
    assert [quiet.modules[0].binds_ports, loud.modules[0].binds_ports] == [False, True]


def test_a_long_note_is_cut() -> None:
    student = {f"test_{number:03}.py": TEST for number in range(50)}
    assert laid(student, {"check/test_a.py": TEST}, tuple(student)).detail.endswith("test_019.py and 30 more")
