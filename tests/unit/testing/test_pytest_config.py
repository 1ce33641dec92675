"""pytest's own configuration is read as pytest reads it, and a broken one breaks nothing."""

import pytest
from _pytest.config.findpaths import CONFIG_LOADERS_BY_NAME

from testmesh.testing.pytest_config import CONFIG_NAMES, Patterns, PytestConfig, config_file, read_config
from testmesh.testing.tree import MemoryTree

TOML = b'[tool.pytest.ini_options]\ntestpaths = ["toml"]\n'
NATIVE = b'[tool.pytest]\ntestpaths = ["native"]\n'
SETUP = b"[tool:pytest]\ntestpaths = setup\n"
TOX = b"[pytest]\ntestpaths = tox\n"
INI = b"[pytest]\ntestpaths = ini\n"


def test_the_order_of_files_is_pytests() -> None:
    if ".pytest.toml" in CONFIG_LOADERS_BY_NAME:
        assert list(CONFIG_NAMES) == list(CONFIG_LOADERS_BY_NAME)


def test_the_defaults_are_pytests(pytestconfig: pytest.Config) -> None:
    for name in ("norecursedirs", "python_files", "python_classes", "python_functions"):
        assert getattr(PytestConfig(), name) == tuple(pytestconfig.getini(name))


@pytest.mark.parametrize(
    ("files", "testpaths"),
    [
        ({}, ()),
        ({"pytest.ini": INI}, ("ini",)),
        ({".pytest.ini": INI}, ("ini",)),
        ({"pytest.toml": b'[pytest]\ntestpaths = ["own"]\n', "pytest.ini": INI}, ("own",)),
        ({"pyproject.toml": TOML}, ("toml",)),
        ({"pyproject.toml": NATIVE}, ("native",)),
        ({"pyproject.toml": b"[tool.pytest.ini_options]\ntestpaths = \"a 'b c'\"\n"}, ("a", "b c")),
        ({"tox.ini": TOX}, ("tox",)),
        ({"setup.cfg": SETUP}, ("setup",)),
        ({"setup.cfg": INI}, ()),
        ({"pytest.ini": INI, "pyproject.toml": TOML, "tox.ini": TOX, "setup.cfg": SETUP}, ("ini",)),
        ({"pyproject.toml": TOML, "tox.ini": TOX, "setup.cfg": SETUP}, ("toml",)),
        ({"pyproject.toml": b"[project]\n", "tox.ini": TOX, "setup.cfg": SETUP}, ("tox",)),
        ({"pyproject.toml": b"[tool.pytest.ini_options]\n", "tox.ini": TOX}, ()),
        ({"tox.ini": b"[tox]\n", "setup.cfg": SETUP}, ("setup",)),
        ({"pytest.ini": b"", "setup.cfg": SETUP}, ()),
        ({"pytest.ini": b"[pytest]\ntestpaths =\n    one\n    two  three\n"}, ("one", "two", "three")),
        ({"pytest.ini": b"\xef\xbb\xbf[pytest]\ntestpaths = bom\n"}, ("bom",)),
    ],
)
def test_testpaths_come_from_the_file_that_pytest_takes(files: dict[str, bytes], testpaths: tuple[str, ...]) -> None:
    tree = MemoryTree({f"p/{name}": content for name, content in files.items()})
    assert read_config(tree, "p", files).testpaths == testpaths


@pytest.mark.parametrize(
    "files",
    [
        {"pytest.ini": b"testpaths = no section"},
        {"pytest.ini": b"[pytest]\ntestpaths = 'open quote\n"},
        {"pytest.ini": b"\xff\xfe\x00garbage"},
        {"pytest.ini": b"[pytest]\na = 1\na = 2\n"},
        {"pyproject.toml": b"[tool.pytest.ini_options\n"},
        {"pyproject.toml": b"tool = 3\n"},
        {"pyproject.toml": b"[tool]\npytest = []\n"},
        {"pyproject.toml": b"[tool.pytest.ini_options]\ntestpaths = [1, 2]\n"},
        {"pyproject.toml": b"x = " + b"[" * 100_000},
        {"pyproject.toml": b"#" * 1_000_000},
        {"pyproject.toml": b".".join([b"a"] * 100_000) + b" = 1\n"},
        {"setup.cfg": b"[tool:pytest\n"},
    ],
)
def test_a_broken_file_leaves_the_defaults(files: dict[str, bytes]) -> None:
    assert read_config(MemoryTree(files), "", files) == PytestConfig()


def test_the_file_that_counts_is_named() -> None:
    tree = MemoryTree({"a/pyproject.toml": b"[project]\n", "a/tox.ini": TOX})
    assert config_file(tree, "a", ["pyproject.toml", "tox.ini"]) == "tox.ini"
    assert config_file(tree, "a", ["pyproject.toml"]) is None


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("test_*.py", "a/test_b.py", True),
        ("test_*.py", "a/b_test.py", False),
        (".*", "a/.tox", True),
        ("{arch}", "{arch}", True),
        ("tests/*/check_*.py", "p/tests/unit/check_a.py", True),
        ("tests/*/check_*.py", "p/unit/check_a.py", False),
        ("*" * 300, "a", False),
        ("[", "[", True),
    ],
)
def test_patterns_match_as_pytests_do(pattern: str, path: str, matches: bool) -> None:
    assert Patterns([pattern]).match(path) is matches
