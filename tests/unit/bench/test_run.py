"""What follows from runs: the machine's limit, and which results differ."""

from pathlib import Path

from bench.corpora.corpus import Corpus
from bench.figures.comparison import Comparison
from bench.reference import Outcome
from bench.systems.run import Alone, Run, differences, loop_run, passed, right

ONE, TWO = ("project", "test_1.py"), ("project", "test_2.py")
PASSED, FAILED = Outcome(passed=2), Outcome(passed=1, failed=1)


def test_the_limit_is_the_longest_module_or_the_processors() -> None:
    waiting = loop_run({ONE: Alone(PASSED, 9.0, 1.0), TWO: Alone(PASSED, 2.0, 1.0)})
    computing = loop_run({ONE: Alone(PASSED, 9.0, 9.0), TWO: Alone(PASSED, 8.0, 11.0)})
    assert (waiting.limit(2), computing.limit(2), computing.limit(4)) == (9.0, 10.0, 9.0)


def test_a_loop_takes_as_long_as_all_its_modules() -> None:
    found = loop_run({ONE: Alone(PASSED, 9.0, 1.0), TWO: Alone(FAILED, 2.0, 0.5)})
    assert (found.wall, found.cpu, found.outcomes) == (11.0, 1.5, {ONE: PASSED, TWO: FAILED})


def test_what_differs_is_told_and_so_is_what_is_missing_or_too_much() -> None:
    assert differences({ONE: PASSED}, {ONE: PASSED}) == []
    assert differences({ONE: PASSED}, {ONE: FAILED}) == [
        "project test_1.py: 2 / 0 / 0 / 0 expected, 1 / 1 / 0 / 0 found"
    ]
    assert differences({ONE: PASSED}, {TWO: PASSED}) == [
        "project test_1.py: 2 / 0 / 0 / 0 expected, not there found",
        "project test_2.py: not there expected, 2 / 0 / 0 / 0 found",
    ]


def test_right_modules_and_passing_tests_are_counted() -> None:
    expected = {ONE: PASSED, TWO: FAILED}
    assert right(expected, {ONE: PASSED, TWO: PASSED}) == 1
    assert right(expected, {}) == 0
    assert passed(expected) == 3


def comparison(ours: Outcome, known: Outcome, plain: Outcome, beside: Run) -> Comparison:
    corpus = Corpus("corpus", Path(), {ONE: known})
    return Comparison(corpus, [Run(1.0, {ONE: ours})], [loop_run({ONE: Alone(plain, 1.0, 1.0)})], [beside])


def test_equal_results_are_no_difference_whatever_xdist_got() -> None:
    assert comparison(PASSED, PASSED, PASSED, Run(1.0, {ONE: FAILED})).differences() == ()


def test_every_way_of_being_wrong_is_a_difference() -> None:
    nothing = Run(1.0, {})
    assert "ours" in comparison(FAILED, PASSED, PASSED, nothing).differences()[0]
    assert "plain pytest" in comparison(FAILED, PASSED, FAILED, nothing).differences()[0]
    assert "xdist has it" in comparison(PASSED, PASSED, PASSED, Run(1.0, {TWO: PASSED})).differences()[0]
