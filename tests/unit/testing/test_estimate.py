"""What a test file will take is read off it: enough to put files in order, whatever is in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testmesh.testing.estimate import MAX_S
from testmesh.testing.modules import MAX_PARSED, read_module


def seconds(source: str | bytes) -> float:
    return read_module(source.encode() if isinstance(source, str) else source, "test_a.py").estimate_s


def beyond_nothing(source: str) -> float:
    """What the file's own words add to a test that does nothing."""
    return round(seconds(source) - seconds("def test_a(): pass"), 3)


TEST = "def test_a():\n "


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TEST + "time.sleep(2)", 2),
        (TEST + "sleep(0.5); await_(asyncio.sleep(1))", 1.5),
        ("async def test_a():\n await asyncio.sleep(3)", 3),
        ("time.sleep(2)\ndef test_a(): pass", 2),
        ("DELAY = 4\ndef test_a():\n time.sleep(DELAY)", 4),
        (TEST + "time.sleep(later)", 0.1),
        (TEST + "x = lambda: time.sleep(9)", 0),
        (TEST + "def inner():\n  time.sleep(9)\n pass", 0),
        # loops
        (TEST + "for _ in range(10):\n  time.sleep(1)", 10),
        (TEST + "for _ in range(2, 10, 4):\n  time.sleep(1)", 2),
        (TEST + "for _ in [1, 2]:\n  for _ in range(3):\n   time.sleep(1)", 6),
        (TEST + "for _ in things:\n  time.sleep(1)", 1),
        (TEST + "for _ in range(100):\n  if ready():\n   break\n  time.sleep(1)", 3),
        (TEST + "while not ready():\n  time.sleep(1)", 3),
        (TEST + "for _ in range(5, 1):\n  time.sleep(1)", 0),
        (TEST + "for _ in range(1, 5, 0):\n  time.sleep(1)", 0),
        # branches
        (TEST + "if x:\n  time.sleep(1)\n else:\n  time.sleep(2)", 2),
        (TEST + "try:\n  time.sleep(1)\n except OSError:\n  time.sleep(9)\n finally:\n  time.sleep(2)", 3),
        (TEST + "with x(time.sleep(1)):\n  time.sleep(2)", 3),
        # functions of the file
        ("def helper(): time.sleep(1)\ndef test_a():\n helper(); helper()", 2),
        ("def helper(): helper(); time.sleep(1)\ndef test_a(): helper()", 1),
        ("def unused(): time.sleep(9)\ndef test_a(): pass", 0),
        ("class TestA:\n def setup_method(self): time.sleep(1)\n def test_a(self): pass", 1),
        ("class TestA:\n @classmethod\n def setup_class(cls): time.sleep(1)\n def test_a(self): pass", 1),
        (
            "class A(TestCase):\n def setUp(self): sleep(1)\n def test_a(self): self.help()\n def help(self): sleep(2)",
            3,
        ),
        # fixtures
        ("@fixture\ndef server():\n time.sleep(1)\n yield\n time.sleep(2)\ndef test_a(server): pass", 3),
        ("@fixture\ndef a(): sleep(1)\n@pytest.fixture()\ndef b(a): sleep(2)\ndef test_a(b): pass", 3),
        ("@pytest.fixture(autouse=True)\ndef a(): sleep(1)\ndef test_a(): pass", 1),
        ("@fixture\ndef a(): sleep(1)\n@pytest.mark.usefixtures('a')\ndef test_a(): pass", 1),
        ("@fixture\ndef a(a): sleep(1)\ndef test_a(a): pass", 1),
        # what is started and waited for
        (TEST + "subprocess.Popen(['x'])", 0.3),
        (TEST + "subprocess.run(['x'])\n other.run(1)", 0.3),
        (TEST + "x.wait(timeout=10); y.join(5); q.get(timeout=5); d.get(5); ','.join(z)", 2),
        (TEST + "await_(asyncio.wait_for(x, 10))", 1),
        ("@pytest.mark.timeout(2)\ndef test_a(): time.sleep(60)", 2),
        ("@given(integers())\ndef test_a(n): pass", 0.5),
    ],
)
def test_what_is_written_out_is_added_up(source: str, expected: float) -> None:
    assert beyond_nothing(source) == expected


@pytest.mark.parametrize(
    ("quicker", "slower"),
    [
        ("def test_a(): pass", "def test_a(): pass\ndef test_b(): pass"),
        ("def test_a(x): sleep(1)", "@mark.parametrize('x', [1, 2])\ndef test_a(x): sleep(1)"),
        (
            "@fixture(scope='session')\ndef s(): sleep(1)\ndef test_a(s): pass\ndef test_b(s): pass",
            "@fixture\ndef s(): sleep(1)\ndef test_a(s): pass\ndef test_b(s): pass",
        ),
        (
            "class TestA:\n def setup_class(cls): sleep(1)\n def test_a(self): pass\n def test_b(self): pass",
            "class TestA:\n def setup_method(self): sleep(1)\n def test_a(self): pass\n def test_b(self): pass",
        ),
    ],
)
def test_what_is_done_more_often_takes_longer(quicker: str, slower: str) -> None:
    assert seconds(quicker) < seconds(slower)


def test_a_fixture_of_the_session_counts_once() -> None:
    fixture = "@pytest.fixture(scope='session')\ndef s(): sleep(5)\n"
    tests = "".join(f"def test_{n}(s): pass\n" for n in range(10))
    assert 5 < seconds(fixture + tests) < 10


def test_a_file_that_is_not_parsed_has_its_sleeps_counted_by_lines() -> None:
    large = b"def test_a():\n    time.sleep(7)\n" + b"# a comment\n" * (MAX_PARSED // 10)
    assert 7 < seconds(large) < 8
    assert 7 < seconds("def test_a(:\n time.sleep(7)") < 8


@pytest.mark.parametrize(
    "source",
    [
        TEST + "time.sleep(1e999)",
        TEST + "time.sleep(" + "9" * 4000 + ")",
        TEST + "for _ in range(10**9):\n  time.sleep(1e9)\n for _ in range(999999999):\n  time.sleep(1)",
        TEST + "time.sleep(5);" * 5000,
        "@mark.parametrize('x', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])\n" * 40 + TEST + "sleep(1000)",
    ],
)
def test_the_longest_has_a_bound(source: str) -> None:
    assert seconds(source) == MAX_S


@pytest.mark.parametrize(
    "source",
    [
        "".join(f"def f{n}(): f{n + 1}()\n" for n in range(5000)) + TEST + "f0()",
        "".join(f"@fixture\ndef f{n}(f{n + 1}): pass\n" for n in range(3000)) + "def test_a(f0): pass",
        "if 1:\n 1\n" + "elif 1:\n 1\n" * 8000 + TEST + "pass",
        TEST + "x" + ".a" * 900 + "()",
        TEST + "for _ in range(0, 3600, 1e-306): pass",
        TEST + "for _ in range(0, 3600, 5e-324): pass",
        TEST + "for _ in range(-1e999, 1e999, 1e999): pass",
        "@usefixtures(0x" + "f" * 8000 + ")\n" + TEST + "pass",
        "time.sleep(True)\ntime.sleep(1j)\ntime.sleep('1')\ntime.sleep()\nrange()\nfor x in range(): pass",
    ],
)
def test_hostile_files_get_some_estimate(source: str) -> None:
    assert 0 < seconds(source) < MAX_S


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="deftsclaTp_():\n @=[]{}'\"\\fx1,.#", max_size=200))
def test_any_text_gets_an_estimate(text: str) -> None:
    assert 0 < seconds(text) <= MAX_S
