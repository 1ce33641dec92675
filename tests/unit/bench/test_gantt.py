"""The picture has every module, none over another, and needs nothing from elsewhere."""

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from bench.gantt import drawn, lanes_of
from bench.systems.graded import Span, spans_of

SVG = "{http://www.w3.org/2000/svg}"
SPANS = [
    Span("10.0.0.1:5001", "project <a>", "tests/test_1.py", 1000.0, 8.0),
    Span("10.0.0.1:5001", "project-b", "tests/test_1.py", 1001.5, 0.01),
    Span("10.0.0.2:5001", "project-b", "tests/test_2.py", 1003.0, 4.0),
]
DRAWN_SPANS = st.lists(
    st.builds(Span, st.just("node"), st.just("p"), st.uuids().map(str), st.floats(0, 50), st.floats(0, 20)), max_size=20
)


def test_every_module_has_a_bar_that_says_when() -> None:
    titles = [title.text or "" for title in ElementTree.fromstring(drawn(SPANS, 999.0, {})).iter(f"{SVG}title")]
    assert "project <a> tests/test_1.py: 8.00 s from 1.00 s on" in titles
    assert sum(" s on" in title for title in titles) == len(SPANS)


def test_nodes_have_numbers_and_not_their_addresses() -> None:
    picture = drawn(SPANS, 999.0, {})
    assert ">node 1<" in picture
    assert ">node 2<" in picture
    assert "10.0.0" not in picture


def test_all_is_inside_the_picture() -> None:
    picture = ElementTree.fromstring(drawn(SPANS, 999.0, {"L": 8.8, "end": 14.0}))
    width, height = map(float, picture.attrib["viewBox"].split()[2:])
    for bar in picture.iter(f"{SVG}rect"):
        assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert 0 <= float(bar.attrib["y"]) < height


def test_moments_are_marked() -> None:
    picture = drawn(SPANS, 999.0, {"L": 8.8, "end": 9.4})
    assert ">L 8.8 s<" in picture
    assert ">end 9.4 s<" in picture


def test_clocks_that_disagree_a_little_put_nothing_outside() -> None:
    picture = ElementTree.fromstring(drawn(SPANS, 1000.5, {}))
    assert min(float(bar.attrib["x"]) for bar in picture.iter(f"{SVG}rect")) >= 0


def test_it_can_be_read_on_dark_ground_and_loads_nothing() -> None:
    picture = drawn(SPANS, 999.0, {})
    assert "prefers-color-scheme: dark" in picture
    assert picture.count("http") == 1  # the name of SVG itself
    assert "url(" not in picture


def test_where_nothing_is_known_there_is_no_picture() -> None:
    assert drawn([], 999.0, {}) == ""


@given(DRAWN_SPANS)
def test_no_bar_lies_over_another_and_none_is_lost(spans: list[Span]) -> None:
    lanes = lanes_of(spans)
    assert sorted(span.module for lane in lanes for span in lane) == sorted(span.module for span in spans)
    for lane in lanes:
        for before, after in pairwise(lane):
            assert before.began + before.took <= after.began


def test_spans_come_from_the_document_where_it_has_them() -> None:
    ran = {"node": "n:1", "started_at": "2026-11-21T19:05:00.250Z", "time": 1.5}
    document = {"module_results": {"p": {"test_1.py": ran, "test_2.py": {"started_at": None}, "test_3.py": {}}}}
    assert [(span.module, span.took, span.began % 1) for span in spans_of(document)] == [("test_1.py", 1.5, 0.25)]
