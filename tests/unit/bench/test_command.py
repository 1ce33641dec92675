"""`python -m bench`: what it takes, what it writes, and its exit status."""

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.figures.setting import Figure, Measured, Setting
from bench.row import at_most

ROW = at_most("a figure", 3.0, 2.0, "x")


def figures(*differences: str, picture: str = "") -> dict[str, Figure]:
    return {"one": lambda _: Measured((ROW,), differences, picture), "two": lambda _: Measured(())}


def test_a_goal_that_is_not_reached_is_told_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], figures()) == 0
    assert "not reached: 3.00 x instead of <= 2.00 x" in capsys.readouterr().out


def test_a_result_that_differs_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], figures("p test_1.py: 2 expected, 1 found")) == 1
    assert "- p test_1.py: 2 expected, 1 found" in capsys.readouterr().out


def test_the_report_and_its_picture_are_written_beside_each_other(tmp_path: Path) -> None:
    main(["--write", str(tmp_path / "speed.md")], figures(picture="<svg/>"))
    text = (tmp_path / "speed.md").read_text()
    assert "](speed.svg)" in text
    assert str(tmp_path) not in text, "no folder of this machine"
    assert (tmp_path / "speed.svg").read_text() == "<svg/>"


def test_what_was_measured_before_stays_in_the_report(tmp_path: Path) -> None:
    report = tmp_path / "speed.md"
    main(["--write", str(report)], figures(picture="<svg/>"))
    other = at_most("another figure", 1.0, 2.0, "x")
    again: dict[str, Figure] = {**figures(), "two": lambda _: Measured((other,))}
    assert main(["--only", "two", "--write", str(report)], again) == 0
    text = report.read_text()
    assert text.index("| a figure |") < text.index("| another figure |")
    assert "](speed.svg)" in text
    assert "- two: `PYTHONPATH=src python -m bench --only two" in text


def test_what_is_measured_is_written_though_the_next_figure_fails(tmp_path: Path) -> None:
    def fails(_: Setting) -> Measured:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        main(["--write", str(tmp_path / "speed.md")], {**figures(), "two": fails})
    assert "| a figure |" in (tmp_path / "speed.md").read_text()


def test_only_what_was_named_is_measured() -> None:
    seen: list[Setting] = []

    def kept(setting: Setting) -> Measured:
        seen.append(setting)
        return Measured(())

    main(["--only", "two", "--repeat", "3", "--loops", "9", "--quick"], {**figures("differs"), "two": kept})
    assert [(one.repeat, one.loops, one.quick, one.corpus) for one in seen] == [(3, 3, True, None)]


def test_a_quick_run_says_that_its_figures_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick"], figures())
    assert "A quick run" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--repeat", "0"], ["--only", "nothing"], ["--corpus", "/not/there"]])
def test_what_it_cannot_do_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong, figures())
    assert caught.value.code == 2
