"""Which projects will most likely share an environment, told before anything is unpacked."""

import pytest

from testmesh.testing.expected_environment import EnvironmentReader
from testmesh.testing.tree import MemoryTree

PACKAGE = b"[project]\nname = 'x'\nversion = '1'\n"


def digest(**files: bytes) -> str:
    """Of a project; `__` in a name is a slash, `_` before the end of a name its dot."""
    named = {path.replace("__", "/")[::-1].replace("_", ".", 1)[::-1]: content for path, content in files.items()}
    return EnvironmentReader().digest(MemoryTree(named))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a_py": b"1"}, {"a_py": b"2"}),
        ({"requirements_txt": b""}, {}),
        ({"requirements_txt": b"Flask==3.0\nrequests\n"}, {"requirements_txt": b"# both\nrequests\r\nflask == 3.0\n"}),
        ({"requirements_txt": b"flask"}, {"requirements_txt": b"-r more.txt", "more_txt": b"flask"}),
        ({"requirements_txt": b"x"}, {"requirements_txt": b"x", "pyproject_toml": b"[tool.black]\n"}),
        ({"pyproject_toml": PACKAGE, "a_py": b"1"}, {"pyproject_toml": PACKAGE, "a_py": b"1"}),
        (
            {"pyproject_toml": PACKAGE, "a_py": b"1"},
            {"pyproject_toml": PACKAGE, "a_py": b"1", "node_modules__a_js": b"x"},
        ),
    ],
)
def test_what_installs_the_same_is_equal(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert digest(**one) == digest(**other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"requirements_txt": b"flask"}, {}),
        ({"requirements_txt": b"flask==1"}, {"requirements_txt": b"flask==2"}),
        ({"requirements_txt": b"x"}, {"requirements_txt": b"x\n-c c.txt", "c_txt": b"y<2"}),
        (
            {"requirements_txt": b"x", "pyproject_toml": PACKAGE},
            {"requirements_txt": b"x", "pyproject_toml": PACKAGE + b"requires-python = '>=3.11'"},
        ),
        ({"pyproject_toml": PACKAGE, "a_py": b"1"}, {"pyproject_toml": PACKAGE, "a_py": b"2"}),
        ({"requirements_txt": b".", "a_py": b"1"}, {"requirements_txt": b".", "b_py": b"1"}),
        (
            {"requirements_txt": b"./lib", "lib__a_py": b"1", "b_py": b"1"},
            {"requirements_txt": b"./lib", "lib__a_py": b"2", "b_py": b"1"},
        ),
    ],
)
def test_what_installs_something_else_is_not(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert digest(**one) != digest(**other)


def test_files_beside_the_folder_that_is_installed_make_no_difference() -> None:
    files = {"requirements_txt": b"./lib", "lib__a_py": b"1"}
    assert digest(**files, b_py=b"1") == digest(**files, b_py=b"2") != ""


@pytest.mark.parametrize(
    "requirements",
    [
        b"not a requirement at all",
        b"./missing",
        b"../outside",
        b"-r missing.txt",
        b"\0",
        b"\n".join(b"./p%d" % number for number in range(9)),
        b"x\n" * 200_000,
    ],
)
def test_what_cannot_be_told_is_empty(requirements: bytes) -> None:
    folders = {f"p{number}__a_py": b"" for number in range(9)}
    assert digest(requirements_txt=requirements, **folders) == ""


def test_an_archive_has_its_share_and_no_more() -> None:
    reader = EnvironmentReader()
    found = [
        reader.digest(MemoryTree({"requirements.txt": b"# %d\n" % number + b"#" * 100_000})) for number in range(4)
    ]
    assert found[0] == found[1] != ""
    assert found[2:] == ["", ""]

    large = {"pyproject.toml": PACKAGE, "data.bin": b"x" * (17 * 1024 * 1024)}
    assert EnvironmentReader().digest(MemoryTree(large)) == ""
