"""What is kept of test files between archives, and that it changes no answer."""

from testmesh.model import ModulePlan
from testmesh.testing.detection import detect
from testmesh.testing.known_modules import KnownModules
from testmesh.testing.tree import MemoryTree

NAMES = (("test",), ("Test",))
TWO_TESTS = b"def test_a(): pass\ndef test_b(): pass\n"


def test_files_used_longest_ago_are_forgotten_first() -> None:
    known = KnownModules(most=2)
    for content in ("a", "b"):
        known.put(content, NAMES, ModulePlan(content))
    assert known.get("a", NAMES) == ModulePlan("a")
    known.put("c", NAMES, ModulePlan("c"))
    assert known.get("b", NAMES) is None
    assert known.get("a", NAMES) == ModulePlan("a")


def test_a_file_that_is_known_is_found_the_same_in_another_archive_under_its_own_path() -> None:
    known = KnownModules()
    detect(MemoryTree({"ann/test_a.py": TWO_TESTS}), "first", parsed=known)
    (after,) = detect(MemoryTree({"bob/sub/test_b.py": TWO_TESTS}), "second", parsed=known)
    (alone,) = detect(MemoryTree({"bob/sub/test_b.py": TWO_TESTS}), "second")
    assert after == alone
    assert after.modules[0].tests_found == 2


def test_names_that_pytest_is_told_to_collect_belong_to_what_is_known() -> None:
    known = KnownModules()
    files = {"test_a.py": b"def check_a(): pass\ndef check_b(): pass\ndef test_c(): pass\n"}
    (usual,) = detect(MemoryTree(files), "first", parsed=known)
    other = {"pytest.ini": b"[pytest]\npython_functions = check_*\n", **files}
    (configured,) = detect(MemoryTree(other), "second", parsed=known)
    assert [usual.modules[0].tests_found, configured.modules[0].tests_found] == [1, 2]


def test_what_one_archive_was_too_large_to_have_parsed_is_parsed_in_another() -> None:
    known = KnownModules()
    padding = b"#" * 120_000 + b"\n"
    nested = b"def outer():\n def test_a(): pass\n def test_b(): pass\n"  # two tests, counted by line, and parsed none
    files = {f"test_{number:02}.py": b"%d\n" % number + padding for number in range(9)} | {
        "test_x.py": padding + nested
    }
    (large,) = detect(MemoryTree({**files, "test_w.py": padding}), "large", parsed=known)
    assert {module.path: module.tests_found for module in large.modules}["test_x.py"] == 2
    (small,) = detect(MemoryTree({"test_x.py": padding + nested}), "small", parsed=known)
    (alone,) = detect(MemoryTree({"test_x.py": padding + nested}), "small")
    assert small == alone
    assert small.modules[0].tests_found == 1
