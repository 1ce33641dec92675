"""The staff's tests replace the student's, and what that did is told."""

import pytest

from testmesh.errors import NothingToTestError
from testmesh.model import Project
from testmesh.testing.detection import detect
from testmesh.testing.overlay import outranked_configs, overlay_project, overlay_root
from testmesh.testing.tree import MemoryTree, Tree

TEST = "def test_it(): pass\n"


def tree(files: dict[str, str]) -> Tree:
    return MemoryTree({path: content.encode() for path, content in files.items()})


def graded(student: dict[str, str], staff: dict[str, str]) -> dict[str, Project]:
    return {project.name: project for project in detect(tree(student), "upload", tree(staff))}


def paths(project: Project) -> list[str]:
    return [module.path for module in project.modules]


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
    assert found["ana"].detail == "replaced by the staff's tests: tests/test_a.py; not run: tests/test_mine.py"
    assert found["rui"].detail == "not run: test_own.py"


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
    assert project.detail == "not run: mine/mine_a.py"


def test_the_staffs_configuration_counts() -> None:
    staff = {"pytest.ini": "[pytest]\npython_files = check_*.py\n", "check_a.py": TEST, "test_helper.py": ""}
    (project,) = graded({"app.py": ""}, staff).values()
    assert paths(project) == ["check_a.py"]


def test_a_conftest_that_the_staffs_tests_load_is_told() -> None:
    student = {"conftest.py": "1", "tests/conftest.py": "2", "other/conftest.py": "3", "tests/unit/conftest.py": "4"}
    laid = overlay_project(tree(student), [], tree({"tests/unit/test_a.py": TEST, "tests/unit/conftest.py": "staff"}))
    assert laid.kept_conftests == ("conftest.py", "tests/conftest.py")
    assert laid.replaced == ("tests/unit/conftest.py",)
    assert "the submission's own conftest.py stays: conftest.py, tests/conftest.py" in laid.detail


def test_files_and_folders_in_the_way_are_replaced() -> None:
    student = {"tests": "a file", "data/x/deep.txt": "1", "data/y.txt": "2", "tests-old/a": ""}
    laid = overlay_project(tree(student), [], tree({"tests/test_a.py": TEST, "data/x": "a file"}))
    assert laid.replaced == ("data/x/deep.txt", "tests")
    assert set(laid.tree.files()) == {"tests/test_a.py", "data/x", "data/y.txt", "tests-old/a"}
    assert laid.tree.read("data/x", 10) == b"a file"
    assert laid.tree.read("data/y.txt", 10) == b"2"


@pytest.mark.parametrize(
    ("staff", "outranked"),
    [
        ({"pytest.ini": ""}, ("pytest.toml", ".pytest.toml")),
        (
            {"pyproject.toml": "[tool.pytest.ini_options]\n"},
            ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"),
        ),
        ({"pyproject.toml": "[project]\n"}, ()),
        ({"pytest.ini": "", "pytest.toml": ""}, ()),
        ({"tests/pytest.ini": ""}, ("tests/pytest.toml", "tests/.pytest.toml")),
        ({"test_a.py": TEST}, ()),
    ],
)
def test_a_configuration_before_the_staffs_is_removed(staff: dict[str, str], outranked: tuple[str, ...]) -> None:
    assert outranked_configs(tree(staff)) == tuple(sorted(outranked))


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
    laid = overlay_project(tree(student), student, tree({"check/test_a.py": TEST}))
    assert laid.detail.endswith("test_019.py and 30 more")
