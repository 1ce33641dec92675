"""TOML of an upload is read within bounds."""

import pytest

from testmesh.testing.toml_file import MAX_DOTS, MAX_TOML, parse_toml


def test_a_document_is_parsed() -> None:
    assert parse_toml(b'\xef\xbb\xbf[a.b]\nc = ["1.2.3"]\n') == {"a": {"b": {"c": ["1.2.3"]}}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a = ", "Invalid"),
        (b"\xff", "utf-8"),
        (b"a = " + b"[" * 100_000, "deeply"),
        (b".".join([b"a"] * (MAX_DOTS + 2)) + b" = 1", "dots"),
        (b"#" * (MAX_TOML + 1), "bytes"),
    ],
)
def test_what_cannot_be_read_is_a_value_error_that_says_why(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_toml(content)


def test_many_dots_over_many_lines_are_fine() -> None:
    assert len(parse_toml(b"".join(b"a%d.b.c = '1.2.3'\n" % number for number in range(1000)))) == 1000
