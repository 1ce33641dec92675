"""Which test files differ from what most projects of an evaluation ship."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.model import ModulePlan, Project
from testmesh.testing.cohort import compare, digest_of, noted, notes_of

Files = dict[str, str]


def cohort(*contents: Files) -> dict[str, str]:
    return compare({f"p{number}": files for number, files in enumerate(contents)})


def of(path: str, *contents: str | None) -> dict[str, str]:
    """Projects with one file of these contents, or none; each has another file besides."""
    return cohort(*({"test_own.py": f"{n}"} | ({} if c is None else {path: c}) for n, c in enumerate(contents)))


@pytest.mark.parametrize(
    ("contents", "notes"),
    [
        ("aaab", {"p3": "differs from most projects: test_a.py"}),
        ("aaabb", dict.fromkeys(("p3", "p4"), "differs from most projects: test_a.py")),
        ("aaaa", {}),
        ("aaabbb", {}),
        ("aab", {}),  # two are no majority
        ("aabc", {}),
        ("abcd", {}),
        ("a", {}),
        ("aaa-", {"p3": "missing: test_a.py"}),
        ("aaa---", {}),
        ("aaa--", {"p3": "missing: test_a.py", "p4": "missing: test_a.py"}),
        ("abc-", {"p3": "missing: test_a.py"}),
        ("aa-", {}),
        (
            "aaaab--",
            {"p4": "differs from most projects: test_a.py"} | dict.fromkeys(("p5", "p6"), "missing: test_a.py"),
        ),
        ("----a", {}),  # a test of one's own is nothing to tell
    ],
)
def test_the_majority_says_what_a_test_file_is(contents: str, notes: dict[str, str]) -> None:
    found = of("test_a.py", *(None if letter == "-" else letter for letter in contents))
    assert found == notes


@pytest.mark.parametrize("path", ["conftest.py", "tests/conftest.py", "pytest.ini", "tests/.pytest.toml"])
def test_a_file_with_a_say_in_all_tests_is_told_where_most_have_none(path: str) -> None:
    shared = {"test_a.py": "1"}
    assert cohort(shared, shared, shared, shared | {path: "x"}) == {"p3": f"in few projects: {path}"}
    assert of(path, None, None, None, "x") == {}, "they share no test file"
    assert of(path, None, None, "x") == {}
    assert of(path, "a", "a", "a", "x") == {"p3": f"differs from most projects: {path}"}


def test_all_notes_of_a_project_are_in_one_line_in_order() -> None:
    same = {"test_a.py": "1", "test_b.py": "1", "test_c.py": "1"}
    found = cohort(same, same, same, {"test_b.py": "2", "test_a.py": "2", "conftest.py": ""})
    assert found == {
        "p3": "differs from most projects: test_a.py, test_b.py; missing: test_c.py; in few projects: conftest.py"
    }


def test_a_project_of_many_files_has_a_short_note() -> None:
    most = {f"tests/{'x' * 200}/test_{number}.py": "1" for number in range(400)}
    (note,) = cohort(most, most, most, dict.fromkeys(most, "2")).values()
    assert len(note) <= 4000


def test_contents_are_compared_by_what_they_say() -> None:
    text = b"def test_a():\n    assert 1\n"
    same = (text.replace(b"\n", b"\r\n"), text.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + text, text + b"\n\n", text[:-1])
    for other in same:
        assert digest_of(other, len(other)) == digest_of(text, len(text))
    for other in (text.replace(b"1", b"0"), b" " + text, text.replace(b"    ", b"\t"), b""):
        assert digest_of(other, len(other)) != digest_of(text, len(text))


def test_a_file_that_was_read_in_part_has_its_size_in_the_digest() -> None:
    assert digest_of(b"x", 10) != digest_of(b"x", 11)
    assert digest_of(b"x", 10) != digest_of(b"x", 1)


def test_a_checksum_made_equal_is_no_equal_content() -> None:
    """CRC-32 and size can be forged with four bytes; the digest does not look at them."""
    one, other = b"assert True  # plumless", b"assert True  # buckeroo"  # these two words have one CRC-32
    assert digest_of(one, len(one)) != digest_of(other, len(other))


def project(name: str, digest: str, detail: str = "") -> Project:
    return Project(name, name, (ModulePlan("test_a.py"),), detail, (("test_a.py", digest),))


def test_notes_become_part_of_the_projects_for_good() -> None:
    projects = [*(project(name, "1") for name in "abc"), project("d", "2", "an earlier note")]
    found = noted(projects)
    assert [p.detail for p in found] == ["", "", "", "an earlier note; differs from most projects: test_a.py"]
    assert notes_of(found) == {}
    assert noted(found) == found
    assert [p.modules for p in found] == [p.modules for p in projects]


def test_projects_whose_test_files_are_unknown_do_not_count() -> None:
    unknown = [Project(name, name, (ModulePlan("test_a.py"),)) for name in "xyz"]
    assert notes_of([*unknown, *(project(name, "1") for name in "abc")]) == {}


@given(st.lists(st.dictionaries(st.sampled_from(["test_a.py", "conftest.py", "b"]), st.sampled_from("12")), max_size=9))
def test_the_order_of_projects_does_not_matter_and_most_are_never_told_to_differ(found: list[Files]) -> None:
    named = {f"p{number}": files for number, files in enumerate(found)}
    notes = compare(named)
    assert compare(dict(reversed(named.items()))) == notes
    for path in ("test_a.py", "conftest.py", "b"):
        having = [name for name, files in named.items() if path in files]
        told = [name for name in having if path in notes.get(name, "").partition("missing")[0].partition("in few")[0]]
        assert not told or len(told) < len(having) / 2
        assert not told or len(having) - len(told) >= 3


def test_projects_of_different_tasks_are_told_nothing() -> None:
    found = {f"p{number}": {f"tests/test_{number}.py": str(number)} for number in range(9)}
    found["p0"]["conftest.py"] = "own"
    assert compare(found) == {}
