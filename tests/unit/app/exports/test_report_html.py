"""The report: one file, and nothing of what a project says is more than text in it."""

import base64
import hashlib
from html.parser import HTMLParser

from hypothesis import given

from testmesh.app.exports.report_html import MOST_FAILING, MOST_OUTPUT, POLICY, report_html
from testmesh.model import TestResult, Verdict
from tests.unit.app.exports.evaluations import HOSTILE, Graded, evaluations, graded, hostile

TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "table",
        "thead",
        "tbody",
    ),
    *("tr", "th", "td", "a", "bdi", "details", "summary", "span", "pre"),
}


class Page(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, evaluation: Graded) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str, str]] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.source = "".join(report_html(evaluation.document, evaluation.tests_of))
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name, value or "") for name, value in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_it_shows_grades_modules_and_why_a_test_failed() -> None:
    text = " ".join(
        Page(
            graded(
                ("alpha", "tests/test_a.py", Verdict.PASSED, "", (TestResult("t", "passed"),)),
                (
                    "alpha",
                    "tests/test_b.py",
                    Verdict.FAILED,
                    "",
                    (TestResult("test_sum", "failed", 0, "E 1 != 2", "said"),),
                ),
                ("alpha", "tests/test_c.py", Verdict.ENV_FAILED, "no such version: nothing==9", ()),
                errors={"away": "The repository was not found."},
            )
        ).texts
    )
    for wanted in (
        "10.00",
        "50.00",
        "alpha",
        "test_sum",
        "E 1 != 2",
        "said",
        "env failed",
        "nothing==9",
        "not found",
        "–",
    ):
        assert wanted in text


@given(evaluations)
def test_nothing_of_a_project_becomes_a_tag(evaluation: Graded) -> None:
    page = Page(evaluation)
    assert page.tags <= TAGS
    assert page.open == []
    assert {value for tag, name, value in page.attributes if name == "href" and not value.startswith("#p")} == set()
    assert {name for _, name, _ in page.attributes} <= {
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "id",
        "href",
        "open",
    }


def test_hostile_texts_are_shown_as_they_are() -> None:
    page = Page(hostile())
    assert "<script>" not in page.source
    shown = "\n".join(page.texts)
    for text in HOSTILE[:7]:
        assert text.strip() in shown
    assert "\x00" not in page.source
    page.source.encode("utf-8")


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    page = Page(hostile())
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'")
    assert "http" not in style
    assert "url(" not in style


def test_long_output_and_many_failures_are_bounded() -> None:
    failing = tuple(
        TestResult(f"t{n}", "failed", 0, "x" * 10 * MOST_OUTPUT + "the end") for n in range(MOST_FAILING + 7)
    )
    page = Page(graded(("p", "test_a.py", Verdict.FAILED, "", failing)))
    assert len(page.source) < MOST_FAILING * (MOST_OUTPUT + 500) + 10_000
    assert page.source.count("the end") == MOST_FAILING
    assert "7 more tests failed." in page.source
