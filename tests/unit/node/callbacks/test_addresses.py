"""Which addresses may be called, and which URLs are taken."""

import pytest

from testmesh.errors import MalformedError
from testmesh.node.callbacks.addresses import is_allowed
from testmesh.node.callbacks.target import MAX_URL, Target, parse_target

PUBLIC = ["93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fd12:3456::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::192.168.0.1",
    "2002:7f00:1::",
    "2002:c0a8:0101::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::ffff:0:0",
    "::ffff:0:127.0.0.1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "fec0::1",
    "ff02::1",
    "fe80::1%eth0",
    "127.0.0.1%1",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "localhost",
    "",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address: str) -> None:
    assert is_allowed(address, private=False)
    assert is_allowed(address, private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_the_own_networks_only_where_the_operator_says_so(address: str) -> None:
    assert not is_allowed(address, private=False)
    assert is_allowed(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_these_are_never_called(address: str) -> None:
    assert not is_allowed(address, private=False)
    assert not is_allowed(address, private=True)


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://Example.org", Target("https", "example.org", 443, "/"), "example.org"),
        ("http://example.org:443/a?b=c", Target("http", "example.org", 443, "/a?b=c"), "example.org:443"),
        ("https://93.184.216.34:8443/", Target("https", "93.184.216.34", 8443, "/"), "93.184.216.34:8443"),
        ("HTTP://[2606:4700::1111]/x", Target("http", "2606:4700::1111", 80, "/x"), "[2606:4700::1111]"),
        (
            "http://xn--bcher-kva.example.?q",
            Target("http", "xn--bcher-kva.example.", 80, "/?q"),
            "xn--bcher-kva.example.",
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target, authority: str) -> None:
    found = parse_target(url, private=False)
    assert found == target
    assert found.authority == authority


def test_what_is_shown_of_a_url_has_no_path_and_no_query() -> None:
    assert parse_target("https://example.org/secret/path?token=secret", private=False).origin == "https://example.org"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hook",
        "//example.org/hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "https://",
        "https:///hook",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://@example.org/",
        "https://example.org/#part",
        "https://example.org/#",
        "https://example.org:0/",
        "https://example.org:70000/",
        "https://example.org:x/",
        "https://exa mple.org/",
        "https://example.org/\r\nX: y",
        "https://example.org/\n",
        "https://example.org\\@127.0.0.1/",
        "https://bücher.example/",
        "https://ex%61mple.org/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[example.org]/",
        "https://a..b/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://1.2.3.4./",
        "https://example.org/" + "a" * MAX_URL,
    ],
)
def test_a_url_that_is_odd_is_refused_wherever_it_leads(url: str) -> None:
    with pytest.raises(MalformedError, match="callback_url: "):
        parse_target(url, private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "[::ffff:127.0.0.1]", "localhost", "a.localhost."])
def test_an_address_of_the_own_networks_is_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(MalformedError, match="MESH_CALLBACK_PRIVATE=1"):
        parse_target(f"http://{host}/", private=False)
    assert parse_target(f"http://{host}:8000/", private=True).authority == f"{host}:8000"


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "[::]", "224.0.0.1"])
def test_an_address_that_is_never_called_is_refused_without_one(host: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse_target(f"http://{host}/", private=False)
    assert "MESH_CALLBACK_PRIVATE" not in refused.value.detail
