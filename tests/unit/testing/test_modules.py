"""Tests are counted by reading a file, whatever is in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.testing.found_tests import MAX_TESTS
from testmesh.testing.modules import Allowance, read_module


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", 1),
        ("x = 1", 1),
        ("def test_a(): pass\nasync def test_b(): pass\ndef helper(): pass", 2),
        ("def test_a(): pass\ndef test_a(): pass", 1),
        ("if x:\n def test_a(): pass\nelse:\n def test_a(): pass\n def test_b(): pass", 2),
        ("try:\n import x\nexcept ImportError:\n def test_a(): pass\nfinally:\n def test_b(): pass", 2),
        ("def outer():\n def test_a(): pass\n def test_b(): pass", 1),
        ("class TestA:\n def test_a(self): pass\n def test_b(self): pass\n def other(self): pass", 2),
        ("class Other:\n def test_a(self): pass\n def test_b(self): pass", 1),
        ("class TestA:\n def __init__(self): pass\n def test_a(self): pass\n def test_b(self): pass", 1),
        ("class TestA:\n class TestB:\n  def test_a(self): pass\n  def test_b(self): pass\n def test_c(self): pass", 3),
        ("class TestA:\n __test__ = False\n def test_a(self): pass\n def test_b(self): pass", 1),
        ("class Sums(unittest.TestCase):\n def test_a(self): pass\n def testB(self): pass", 2),
        ("class Sums(IsolatedAsyncioTestCase):\n async def test_a(self): pass\n async def test_b(self): pass", 2),
        ("@pytest.fixture\ndef test_data(): pass\n@fixture()\ndef test_more(): pass\ndef test_a(): pass", 1),
        ("@pytest.mark.parametrize('x', [1, 2, 3])\ndef test_a(x): pass", 3),
        ("@mark.parametrize('x', (1, 2))\n@mark.parametrize('y', {1, 2, 3})\ndef test_a(x, y): pass", 6),
        ("@pytest.mark.parametrize('x', argvalues=[1, 2])\ndef test_a(x): pass", 2),
        ("@pytest.mark.parametrize('x', make())\ndef test_a(x): pass", 1),
        ("@pytest.mark.parametrize('x', [])\ndef test_a(x): pass", 1),
        ("@parametrize('x', [1, 2])\nclass TestA:\n def test_a(self, x): pass\n def test_b(self, x): pass", 4),
        ("pytestmark = [pytest.mark.slow, pytest.mark.parametrize('x', [1, 2])]\ndef test_a(x): pass", 2),
        ("def test_a(:\n  pass\n\nclass TestX:\n  async def test_b(self): pass\n  def helper(self): pass", 2),
    ],
)
def test_tests_are_counted(source: str, expected: int) -> None:
    assert read_module(source.encode(), "test_a.py").tests_found == expected


def test_the_projects_own_names_count() -> None:
    source = (
        b"def check_a(): pass\ndef test_b(): pass\nclass SuiteOne:\n def it_c(self): pass\n def check_d(self): pass"
    )
    assert read_module(source, "a.py", ("check", "it_*"), ("*One",)).tests_found == 3


def test_the_plan_keeps_what_it_is_given() -> None:
    plan = read_module(b"def test_a(): pass", "tests/test_a.py", binds_ports=True)
    assert (plan.path, plan.tests_found, plan.binds_ports) == ("tests/test_a.py", 1, True)


@pytest.mark.parametrize(
    "source",
    [
        b"def test_a(): pass\x00",
        b"\xff\xfe\x00",
        b"# coding: no-such-codec\n",
        b"# coding: hex\n00",
        b"(" * 100_000,
        b"-" * 100_000 + b"1",
        b"a" + b".b" * 60_000,
        b"1+" * 60_000 + b"1",
        b"lambda:" * 10_000 + b"1",
        b"if 1:\n 1\n" + b"elif 1:\n 1\n" * 8_000,
        b"f'" + b"{1}" * 40_000 + b"'",
        b"".join(b" " * depth + b"if 1:\n" for depth in range(300)),
        b"x" * 2_000_000,
    ],
)
def test_hostile_sources_count_as_one(source: bytes) -> None:
    assert read_module(source, "test_a.py").tests_found == 1


def test_a_hostile_count_has_a_bound() -> None:
    marks = b"@mark.parametrize('x', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])\n" * 40
    assert read_module(marks + b"def test_a(): pass", "test_a.py").tests_found == MAX_TESTS


def test_a_large_file_is_counted_by_lines() -> None:
    source = b"def test_a():\n    assert True\n" * 10_000
    assert read_module(source, "test_a.py").tests_found == 10_000


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="deftsclaTp_():\n @=[]{}'\"\\fx1,.#", max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert 1 <= read_module(text.encode(), "test_a.py").tests_found <= MAX_TESTS


def test_an_allowance_is_spent_once() -> None:
    allowance = Allowance(10)
    assert [allowance.take(amount) for amount in (6, 6, 4, 1)] == [True, False, True, False]
