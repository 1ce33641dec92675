"""What is a project: the rules of the contract, case by case, and what holds for every archive."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.errors import NothingToTestError
from testmesh.model import ModulePlan
from testmesh.testing.cohort import MAX_COMPARED
from testmesh.testing.detection import MARKERS, NEVER_SEARCHED, detect
from testmesh.testing.modules import MAX_SOURCE
from testmesh.testing.tree import Below, MemoryTree, join, wrapping_folder

T = b"def test_it(): pass\n"
Found = dict[str, tuple[str, list[str]]]


def found(files: list[str] | dict[str, bytes], name: str = "upload", prefix: bool = False) -> Found:
    contents = files if isinstance(files, dict) else dict.fromkeys(files, T)
    contents = {
        path: b"" if path.split("/")[-1] in MARKERS and content == T else content for path, content in contents.items()
    }
    projects = detect(MemoryTree(contents), name, prefix=prefix)
    return {project.name: (project.root, [module.path for module in project.modules]) for project in projects}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # the whole archive
        (["test_a.py"], {"upload": ("", ["test_a.py"])}),
        (["tests/test_a.py", "app.py"], {"upload": ("", ["tests/test_a.py"])}),
        (["a_test.py", "sub.txt"], {"upload": ("", ["a_test.py"])}),
        # a wrapping folder is stripped, and gives the root's name
        (["w/test_a.py"], {"w": ("w", ["test_a.py"])}),
        (["w/tests/test_a.py"], {"w": ("w", ["tests/test_a.py"])}),
        (["w/tests/test_a.py", "__MACOSX/w/._test_a.py", ".DS_Store"], {"w": ("w", ["tests/test_a.py"])}),
        (["w/p/requirements.txt", "w/p/test_a.py", "w/x.txt"], {"p": ("w/p", ["test_a.py"])}),
        (["w/v/test_a.py"], {"v": ("w/v", ["test_a.py"])}),
        (["tests/test_a.py"], {"tests": ("tests", ["test_a.py"])}),
        # the nearest marker
        (
            ["requirements.txt", "test_a.py", "p/setup.py", "p/tests/test_b.py", "p/q/tox.ini", "p/q/r/test_c.py"],
            {"upload": ("", ["test_a.py"]), "p": ("p", ["tests/test_b.py"]), "p/q": ("p/q", ["r/test_c.py"])},
        ),
        (["p/tests/pytest.ini", "p/tests/test_a.py", "x"], {"p": ("p", ["tests/test_a.py"])}),
        (["tests/requirements.txt", "tests/test_a.py", "x"], {"upload": ("", ["tests/test_a.py"])}),
        (["p/setup.py", "p/Testing/setup.py", "p/Testing/test_a.py", "x"], {"p": ("p", ["Testing/test_a.py"])}),
        (["requirements.txt", "p/test_a.py"], {"upload": ("", ["p/test_a.py"])}),
        # the top-level folder
        (
            ["ana/tests/test_a.py", "rui/deep/down/test_b.py"],
            {"ana": ("ana", ["tests/test_a.py"]), "rui": ("rui", ["deep/down/test_b.py"])},
        ),
        (["src/test_a.py", "test/test_b.py", "x"], {"src": ("src", ["test_a.py"]), "upload": ("", ["test/test_b.py"])}),
        # never searched
        (
            ["test_a.py", ".git/test_b.py", "node_modules/test_c.py", "p/__pycache__/test_d.py", ".hidden/test_e.py"],
            {"upload": ("", ["test_a.py"])},
        ),
        (
            ["test_a.py", "env/lib/site-packages/test_b.py", "my/pyvenv.cfg", "my/test_c.py"],
            {"upload": ("", ["test_a.py"])},
        ),
        (["test_a.py", "conda/conda-meta/history", "conda/test_b.py", ".test_c.py"], {"upload": ("", ["test_a.py"])}),
        (["test_a.py", "build/test_b.py", "venv/test_c.py", "x.egg/test_d.py"], {"upload": ("", ["test_a.py"])}),
        # not modules
        (["test_a.py", "test_b.txt", "tests.py", "conftest.py", "atest.py"], {"upload": ("", ["test_a.py"])}),
        # two of one name
        (
            ["a/setup.py", "a/test_x.py", "a/a/setup.py", "a/a/test_y.py"],
            {"a-2": ("a", ["test_x.py"]), "a": ("a/a", ["test_y.py"])},
        ),
    ],
)
def test_projects_are_found_by_the_contract(files: list[str], expected: Found) -> None:
    assert found(files) == expected


def test_a_repository_names_its_projects_after_itself() -> None:
    files = ["setup.py", "test_a.py", "sub/setup.py", "sub/test_b.py"]
    assert found(files, "owner-repo", prefix=True) == {
        "owner-repo": ("", ["test_a.py"]),
        "owner-repo/sub": ("sub", ["test_b.py"]),
    }


def test_the_only_folder_of_a_repository_keeps_its_name() -> None:
    """GitHub's own wrapping folder was stripped when it was fetched, and only one is."""
    assert found(["app/test_a.py"], "owner-repo", prefix=True) == {"owner-repo/app": ("app", ["test_a.py"])}


LAYOUT = dict.fromkeys(
    [
        "test_top.py",
        "tests/test_a.py",
        "tests/deep/test_b.py",
        "other/test_c.py",
        "dist/test_d.py",
        "checks/check_e.py",
    ],
    T,
)


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        ("testpaths = tests", ["tests/deep/test_b.py", "tests/test_a.py"]),
        ("testpaths = tests/deep other", ["other/test_c.py", "tests/deep/test_b.py"]),
        ("testpaths = ./tests/", ["tests/deep/test_b.py", "tests/test_a.py"]),
        ("testpaths = t*/d*", ["tests/deep/test_b.py"]),
        ("testpaths = **/deep", ["tests/deep/test_b.py"]),
        ("testpaths = checks/check_e.py", ["checks/check_e.py"]),
        ("testpaths = dist", ["dist/test_d.py"]),
        ("testpaths = nowhere", ["other/test_c.py", "test_top.py", "tests/deep/test_b.py", "tests/test_a.py"]),
        ("testpaths = ../outside /etc", ["other/test_c.py", "test_top.py", "tests/deep/test_b.py", "tests/test_a.py"]),
        ("norecursedirs = deep o*", ["dist/test_d.py", "test_top.py", "tests/test_a.py"]),
        ("norecursedirs = tests/deep", ["dist/test_d.py", "other/test_c.py", "test_top.py", "tests/test_a.py"]),
        ("python_files = check_*.py", ["checks/check_e.py"]),
        ("python_files = check_*.py test_a.py\ntestpaths = tests", ["tests/test_a.py"]),
    ],
)
def test_pytests_own_configuration_bounds_the_search(config: str, modules: list[str]) -> None:
    assert found(LAYOUT | {"pytest.ini": f"[pytest]\n{config}\n".encode()}) == {"upload": ("", modules)}


def test_each_project_has_its_own_configuration_and_a_broken_one_hurts_no_other() -> None:
    files = {
        "a/pytest.ini": b"[pytest]\npython_files = check_*.py\n",
        "a/check_x.py": T,
        "a/test_x.py": T,
        "b/pyproject.toml": b"[[[ broken",
        "b/test_y.py": T,
    }
    assert found(files) == {"a": ("a", ["check_x.py"]), "b": ("b", ["test_y.py"])}


def test_an_outer_norecursedirs_keeps_inner_projects_out_and_an_outer_testpaths_does_not() -> None:
    inner = {"examples/one/setup.py": b"", "examples/one/test_a.py": T, "tests/test_b.py": T}
    assert list(found(inner | {"tox.ini": b"[pytest]\nnorecursedirs = examples\n"})) == ["upload"]
    assert list(found(inner | {"tox.ini": b"[pytest]\ntestpaths = tests\n"})) == ["examples/one", "upload"]


def test_a_module_is_planned_from_its_source_with_the_projects_own_names() -> None:
    files = {
        "setup.cfg": b"[tool:pytest]\npython_functions = check\n",
        "test_a.py": b"import socket\ndef check_a(): pass\ndef check_b(): pass\ndef test_c(): pass\n",
        "test_b.py": b"def check_a(): pass",
    }
    (project,) = detect(MemoryTree(files), "upload")
    assert [(m.path, m.tests_found, m.binds_ports) for m in project.modules] == [
        ("test_a.py", 2, True),
        ("test_b.py", 1, False),
    ]


@pytest.mark.parametrize(
    "files", [[], ["app.py"], ["venv/test_a.py"], [".tox/test_a.py", "x"], ["pyvenv.cfg", "test_a.py"]]
)
def test_nothing_to_test_is_an_error(files: list[str]) -> None:
    with pytest.raises(NothingToTestError, match="test_"):
        found(["readme.txt", *files])


def test_test_files_and_what_has_a_say_in_them_have_digests() -> None:
    files = {
        "setup.cfg": b"",
        "test_a.py": T,
        "tests/unit/test_b.py": T + b"\n",
        "tests/unit/test_c.py": b"other",
        "conftest.py": b"1",
        "tests/conftest.py": b"2",
        "tests/pytest.ini": b"",
        "src/conftest.py": b"3",
        "app.py": T,
    }
    (project,) = detect(MemoryTree(files), "upload")
    digests = dict(project.test_files)
    assert list(digests) == sorted(files.keys() - {"setup.cfg", "src/conftest.py", "app.py"})
    assert digests["test_a.py"] == digests["tests/unit/test_b.py"] != digests["tests/unit/test_c.py"]


def test_with_the_staffs_tests_there_is_nothing_to_compare() -> None:
    (project,) = detect(MemoryTree({"test_a.py": T, "app.py": b""}), "upload", MemoryTree({"test_a.py": T}))
    assert project.test_files == ()


def test_digests_of_one_project_are_bounded() -> None:
    (project,) = detect(MemoryTree({f"test_{number}.py": b"" for number in range(1000)}), "upload")
    assert len(project.modules) == 1000
    assert len(project.test_files) == MAX_COMPARED


def test_hostile_globs_end() -> None:
    deep = {"/".join(["d"] * depth) + f"/test_{depth}.py": T for depth in range(1, 60)}
    config = b"[pytest]\ntestpaths = " + b" ".join([b"**/*/" * 15 + b"*"] * 500) + b"\n"
    assert found(deep | {"pytest.ini": config, "x": b""})


# What holds for every archive ----------------------------------------------------------------

NAMES = [
    "a",
    "b",
    "tests",
    "test",
    "w",
    "venv",
    "build",
    ".git",
    "node_modules",
    "__pycache__",
    "site-packages",
    "__MACOSX",
]
FILES = [*sorted(MARKERS), "test_x.py", "y_test.py", "app.py", "conftest.py", "pyvenv.cfg", ".hidden", "check_z.py"]
CONFIGS = [
    b"",
    b"[pytest]\ntestpaths = a tests\n",
    b"[pytest]\npython_files = check_*.py\n",
    b"[pytest]\nnorecursedirs = b\n",
    b"[",
]
PATHS = st.tuples(st.lists(st.sampled_from(NAMES), max_size=4), st.sampled_from(FILES)).map(
    lambda p: "/".join([*p[0], p[1]])
)
TREES = st.dictionaries(PATHS, st.sampled_from(CONFIGS), max_size=25)


@settings(max_examples=300, deadline=None)
@given(TREES, st.booleans())
def test_invariants(files: dict[str, bytes], prefix: bool) -> None:
    try:
        projects = detect(MemoryTree(files), "upload", prefix=prefix)
    except NothingToTestError:
        return
    whole = [join(project.root, module.path) for project in projects for module in project.modules]
    assert whole
    assert max(Counter(whole).values()) == 1, "each module belongs to one project"
    assert set(whole) <= files.keys()
    names = [project.name for project in projects]
    assert names == sorted(set(names))
    assert all(names)
    wrapper = wrapping_folder(files)
    for project in projects:
        paths = [module.path for module in project.modules]
        assert paths
        assert paths == sorted(paths)
        assert project.root == wrapper or project.root.split("/")[-1] not in ("test", "tests", "testing")
    for path in whole:
        folders = path.removeprefix(f"{wrapper}/").split("/")[:-1]
        assert not NEVER_SEARCHED.intersection(folders)
        assert not any(folder.startswith(".") for folder in folders)
        assert not any(
            join(wrapper, "/".join([*folders[:depth], "pyvenv.cfg"])) in files for depth in range(len(folders) + 1)
        )


def plans(files: dict[str, bytes], staff: dict[str, bytes] | None = None) -> dict[str, ModulePlan]:
    projects = detect(MemoryTree(files), "upload", None if staff is None else MemoryTree(staff))
    return {join(project.name, module.path): module for project in projects for module in project.modules}


def test_equal_test_files_have_equal_contents_wherever_they_are() -> None:
    other = b"def test_it(): sleep(5)\n"
    found = plans({"a/test_x.py": T, "b/tests/test_y.py": T, "b/tests/test_z.py": other})
    assert found["a/test_x.py"].content == found["b/tests/test_y.py"].content == hashlib.sha256(T).hexdigest()[:32]
    assert found["b/tests/test_z.py"].content == hashlib.sha256(other).hexdigest()[:32]
    assert found["b/tests/test_z.py"].estimate_s > found["a/test_x.py"].estimate_s > 0


def test_the_content_is_that_of_the_file_that_will_run() -> None:
    staff = b"def test_staff(): pass\n"
    found = plans({"a/tests/test_x.py": T, "b/main.py": b""}, {"tests/test_x.py": staff})
    assert {plan.content for plan in found.values()} == {hashlib.sha256(staff).hexdigest()[:32]}
    assert list(found) == ["a/tests/test_x.py", "b/tests/test_x.py"]


def test_large_files_that_begin_alike_are_told_apart_by_their_size() -> None:
    begin = T + b"#" * MAX_SOURCE
    found = plans({"a/test_x.py": begin, "b/test_x.py": begin + b"#", "c/test_x.py": begin})
    assert found["a/test_x.py"].content == found["c/test_x.py"].content != found["b/test_x.py"].content


def test_a_cohort_is_parsed_once_so_that_its_share_of_parsing_is_enough_for_all() -> None:
    """Counted by line, the class would have no tests left out."""
    source = b"class Other:\n def test_a(self): pass\n def test_b(self): pass\n" + b"# padding\n" * 10_000
    found = plans({f"p{number:02}/test_x.py": source for number in range(40)})
    assert {plan.tests_found for plan in found.values()} == {1}


def test_equal_files_count_by_their_own_projects_rules() -> None:
    source = b"def check_a(): pass\ndef check_b(): pass\ndef test_c(): pass\n"
    own = b"[pytest]\npython_functions = check\n"
    found = plans({"a/test_x.py": source, "b/test_x.py": source, "b/pytest.ini": own})
    assert (found["a/test_x.py"].tests_found, found["b/test_x.py"].tests_found) == (1, 2)


def test_a_cohort_shares_its_environment_and_another_has_its_own() -> None:
    files = {f"{name}/requirements.txt": b"requests==2.31\n" for name in "ab"}
    files |= {"c/requirements.txt": b"flask\n", "d/setup.cfg": b"", **{f"{name}/test_x.py": T for name in "abcd"}}
    projects = detect(MemoryTree(files), "upload")
    a, b, c, d = (project.environment for project in projects)
    assert a == b
    assert len({a, c, d}) == 3
    assert all((a, c, d))


def test_the_environment_is_made_of_what_the_staff_ask_for_too() -> None:
    files = {"a/requirements.txt": b"requests\n", "a/main.py": b"", "b/main.py": b""}
    staff = {"requirements.txt": b"flask\n", "tests/test_x.py": T}
    a, b = (project.environment for project in detect(MemoryTree(files), "upload", MemoryTree(staff)))
    assert a == b != ""


@settings(max_examples=100, deadline=None)
@given(TREES, st.dictionaries(PATHS, st.sampled_from(CONFIGS), max_size=6))
def test_with_the_staffs_tests_every_project_has_the_same_modules(
    files: dict[str, bytes], staff: dict[str, bytes]
) -> None:
    try:
        projects = detect(MemoryTree(files), "upload", MemoryTree(staff))
    except NothingToTestError:
        return
    assert len({tuple(module.path for module in project.modules) for project in projects}) == 1
    assert len({project.name for project in projects}) == len({project.root for project in projects}) == len(projects)


@given(TREES, st.sampled_from(["", "a", "a/b", "tests"]))
def test_a_view_shows_what_lies_below_its_folder(files: dict[str, bytes], folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    expected = {path.removeprefix(prefix): len(content) for path, content in files.items() if path.startswith(prefix)}
    assert Below(MemoryTree(files)).below(folder).files() == expected
    assert Below(MemoryTree(files), folder).files() == expected
