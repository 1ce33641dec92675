import pytest

from testmesh.errors import MalformedError
from testmesh.testing.repository_url import Repository, parse_repository_url

CANARY = "ghp_canary0123456789"

ACCEPTED = [
    ("https://github.com/owner/repo", "owner", "repo", None),
    ("http://github.com/owner/repo", "owner", "repo", None),
    ("https://github.com/owner/repo/", "owner", "repo", None),
    ("https://github.com/owner/repo.git", "owner", "repo", None),
    ("https://github.com/owner/repo.git/", "owner", "repo", None),
    ("HTTPS://GitHub.com/Owner/Repo", "Owner", "Repo", None),
    ("https://github.com/an-owner/load_balancer-for_systems", "an-owner", "load_balancer-for_systems", None),
    ("https://github.com/owner/.github", "owner", ".github", None),
    ("https://github.com/owner/a.git.b", "owner", "a.git.b", None),
    ("https://github.com/old-/-", "old-", "-", None),
    ("https://github.com/person_company/repo", "person_company", "repo", None),
    ("https://github.com/owner/repo/tree/main", "owner", "repo", "main"),
    ("https://github.com/owner/repo/tree/main/", "owner", "repo", "main"),
    ("https://github.com/owner/repo/tree/feature/x/y", "owner", "repo", "feature/x/y"),
    ("https://github.com/owner/repo/tree/v1.0.0", "owner", "repo", "v1.0.0"),
    ("https://github.com/owner/repo/tree/bot/@types/node-1", "owner", "repo", "bot/@types/node-1"),
    ("https://github.com/owner/repo/tree/" + "a1" * 20, "owner", "repo", "a1" * 20),
    ("https://github.com/o/tree/tree/tree", "o", "tree", "tree"),
]


@pytest.mark.parametrize(("text", "owner", "name", "ref"), ACCEPTED)
def test_a_repository_of_github_is_read(text: str, owner: str, name: str, ref: str | None) -> None:
    repository = parse_repository_url(text)

    assert (repository.owner, repository.name, repository.ref) == (owner, name, ref)


def test_every_spelling_of_one_repository_gives_one_value() -> None:
    spellings = ("http://github.com/o/r", "https://github.com/o/r/", "https://GITHUB.com/o/r.git")

    assert {parse_repository_url(text) for text in spellings} == {
        Repository("o", "r", None, "https://github.com/o/r"),
    }


@pytest.mark.parametrize(("text", "owner", "name", "ref"), ACCEPTED)
def test_the_url_of_a_repository_reads_as_the_same_repository(
    text: str, owner: str, name: str, ref: str | None
) -> None:
    repository = parse_repository_url(text)

    assert parse_repository_url(repository.url) == repository


def test_the_project_at_the_root_is_named_after_owner_and_repository() -> None:
    assert parse_repository_url("https://github.com/owner/repo/tree/main").project_name == "owner-repo"


REFUSED = {
    "empty": "",
    "no scheme": "github.com/owner/repo",
    "scheme-relative": "//github.com/owner/repo",
    "one slash": "https:/github.com/owner/repo",
    "three slashes": "https:///github.com/owner/repo",
    "no host": "https://",
    "file": "file:///etc/passwd",
    "file on the host": "file://github.com/owner/repo",
    "ssh": "ssh://github.com/owner/repo",
    "ssh, short": "git@github.com:owner/repo.git",
    "git": "git://github.com/owner/repo",
    "git+https": "git+https://github.com/owner/repo",
    "ftp": "ftp://github.com/owner/repo",
    "javascript": "javascript:alert(1)",
    "data": "data:text/plain,https://github.com/owner/repo",
    "blob": "blob:https://github.com/owner/repo",
    "scheme of a long s": "http\u017f://github.com/owner/repo",
    "localhost": "http://localhost/owner/repo",
    "loopback": "http://127.0.0.1/owner/repo",
    "loopback, short": "http://127.1/owner/repo",
    "loopback, decimal": "http://2130706433/owner/repo",
    "loopback, hexadecimal": "http://0x7f000001/owner/repo",
    "loopback, octal": "http://0177.0.0.1/owner/repo",
    "loopback, all zero": "http://0/owner/repo",
    "loopback, IPv6": "http://[::1]/owner/repo",
    "loopback, mapped": "http://[::ffff:127.0.0.1]/owner/repo",
    "loopback by a public name": "http://127.0.0.1.nip.io/owner/repo",
    "cloud metadata": "http://169.254.169.254/latest/meta-data",
    "private": "http://192.168.1.1/owner/repo",
    "another host": "https://gitlab.com/owner/repo",
    "the host as a prefix": "https://github.com.evil.org/owner/repo",
    "the host as a suffix": "https://evilgithub.com/owner/repo",
    "a subdomain": "https://evil.github.com/owner/repo",
    "www": "https://www.github.com/owner/repo",
    "the API": "https://api.github.com/repos/owner/repo",
    "raw files": "https://raw.githubusercontent.com/owner/repo/main/x",
    "trailing dot": "https://github.com./owner/repo",
    "fullwidth host": "https://\uff47ithub.com/owner/repo",
    "cyrillic host": "https://g\u0456thub.com/owner/repo",
    "punycode host": "https://xn--gthub-n4a.com/owner/repo",
    "host of a Kelvin sign": "https://githu\u212a.com/owner/repo",
    "ideographic full stop": "https://github\u3002com/owner/repo",
    "user": "https://user@github.com/owner/repo",
    "user and password": "https://user:pass@github.com/owner/repo",
    "empty user": "https://@github.com/owner/repo",
    "the host as a user": "https://github.com@evil.org/owner/repo",
    "the host as user and path": "https://github.com:x@127.0.0.1/owner/repo",
    "port": "https://github.com:8443/owner/repo",
    "the usual port": "https://github.com:443/owner/repo",
    "port 22": "https://github.com:22/owner/repo",
    "empty port": "https://github.com:/owner/repo",
    "CRLF": "https://github.com/owner/repo\r\nHost: evil.org",
    "newline at the end": "https://github.com/owner/repo\n",
    "newline inside": "https://github.com/ow\nner/repo",
    "tab in the scheme": "ht\ttps://github.com/owner/repo",
    "NUL": "https://github.com/owner/repo\x00.evil.org",
    "DEL": "https://github.com/owner/repo\x7f",
    "space before": " https://github.com/owner/repo",
    "space after": "https://github.com/owner/repo ",
    "no-break space": "https://github.com/owner/repo\u00a0",
    "zero width space": "https://github.com/owner/re\u200bpo",
    "right to left": "https://github.com/owner/\u202eoper",
    "lone surrogate": "https://github.com/owner/re\ud800po",
    "backslashes": "https:\\\\github.com\\owner\\repo",
    "backslash before the host": "https://evil.org\\@github.com/owner/repo",
    "backslash in the path": "https://github.com/owner\\..\\repo",
    "percent": "https://github.com/owner/re%70o",
    "percent CRLF": "https://github.com/owner/repo%0d%0aX:y",
    "percent slash": "https://github.com/owner%2Frepo",
    "percent dots": "https://github.com/owner/%2e%2e/repo",
    "percent host": "https://github%2ecom/owner/repo",
    "query": "https://github.com/owner/repo?ref=main",
    "fragment": "https://github.com/owner/repo#readme",
    "fragment before the host": "https://evil.org#@github.com/owner/repo",
    "semicolon": "https://github.com/owner/repo;type=a",
    "the host alone": "https://github.com",
    "no path": "https://github.com/",
    "no repository": "https://github.com/owner",
    "no repository, slash": "https://github.com/owner/",
    "empty owner": "https://github.com//repo",
    "empty repository": "https://github.com/owner//",
    "repository named only .git": "https://github.com/owner/.git",
    "twice .git": "https://github.com/owner/.git.git",
    "two slashes at the end": "https://github.com/owner/repo//",
    "dot owner": "https://github.com/./repo",
    "dots owner": "https://github.com/../repo",
    "dot repository": "https://github.com/owner/.",
    "dots repository": "https://github.com/owner/..",
    "dots git": "https://github.com/owner/...git",
    "traversal": "https://github.com/owner/repo/../../other/repo",
    "owner with a dot": "https://github.com/ow.ner/repo",
    "owner with a leading hyphen": "https://github.com/-owner/repo",
    "owner with 40 letters": f"https://github.com/{'o' * 40}/repo",
    "repository with 101 letters": f"https://github.com/owner/{'r' * 101}",
    "repository with a colon": "https://github.com/owner/re:po",
    "repository with a dollar": "https://github.com/owner/$(id)",
    "far too long": "https://github.com/owner/repo/tree/" + "a" * 5000,
    "a million letters": "h" * 1_000_000,
    "a file": "https://github.com/owner/repo/blob/main/test_a.py",
    "a pull request": "https://github.com/owner/repo/pull/1",
    "an archive": "https://github.com/owner/repo/archive/refs/heads/main.zip",
    "no ref": "https://github.com/owner/repo/tree",
    "empty ref": "https://github.com/owner/repo/tree/",
    "empty ref, slashes": "https://github.com/owner/repo/tree//",
    "ref with dots": "https://github.com/owner/repo/tree/a..b",
    "ref traversal": "https://github.com/owner/repo/tree/../../../user",
    "ref dot": "https://github.com/owner/repo/tree/.",
    "ref with a hidden part": "https://github.com/owner/repo/tree/a/.b",
    "ref with an empty part": "https://github.com/owner/repo/tree/a//b",
    "ref that is an option": "https://github.com/owner/repo/tree/--upload-pack",
    "ref with a lock": "https://github.com/owner/repo/tree/a.lock",
    "ref with a final dot": "https://github.com/owner/repo/tree/a.",
    "ref at": "https://github.com/owner/repo/tree/@",
    "ref reflog": "https://github.com/owner/repo/tree/main@{1}",
    "ref parent": "https://github.com/owner/repo/tree/main^",
    "ref range": "https://github.com/owner/repo/tree/main~1",
    "ref colon": "https://github.com/owner/repo/tree/main:secret",
    "ref glob": "https://github.com/owner/repo/tree/*",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_repository_url(text)

    sentence = caught.value.detail
    assert len(sentence) < 400
    assert sentence.isascii() or "…" in sentence
    assert sentence.isprintable()
    assert " " in sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://github.com:443/o/r", "port"),
        ("https://me@github.com/o/r", "auth_token"),
        ("https://gitlab.com/o/r", "github.com"),
        ("https://github.com/o/r?x", "query"),
        ("https://github.com/o/r%41", "percent"),
        ("https://github.com/o", "names no repository"),
        ("https://github.com/o/r/blob/main/x.py", "/tree/"),
    ],
)
def test_the_sentence_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        parse_repository_url(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://{CANARY}@github.com/owner/repo",
        f"https://x:{CANARY}@github.com/owner/repo",
        f"https://github.com/owner/repo?token={CANARY}",
        f"https://github.com/owner/repo#{CANARY}",
    ],
)
def test_a_token_in_a_url_is_not_repeated(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_repository_url(text)

    assert CANARY not in repr(caught.value)
