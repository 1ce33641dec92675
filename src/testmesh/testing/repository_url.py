"""Which repository a URL names. Pure: nothing is looked up.

The text comes from anybody, so it is matched whole against the few forms that are accepted, and never given to a URL
parser: those repair what they read (drop newlines, decode, lower), and two that repair differently are an attack.
"""

import re
from dataclasses import dataclass

from testmesh.errors import MalformedError

HOST = "github.com"
_LONGEST = 500
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[^/]*)(?P<path>/.*)?", re.IGNORECASE | re.ASCII)
# New accounts have letters, digits and single hyphens; older ones may end with a hyphen or have two, and accounts that
# a company manages have an underscore.
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
# What git allows in a ref (git-check-ref-format), less what does not stand as it is in a URL.
_REF = re.compile(r"[A-Za-z0-9._/@+=,!$&'()-]{1,250}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Repository:
    """`url` is in one spelling, whichever was given; `ref` is a branch, tag or commit, None for the default branch."""

    owner: str
    name: str
    ref: str | None
    url: str

    @property
    def project_name(self) -> str:
        """The name of the project at the repository's root."""
        return f"{self.owner}-{self.name}"


def parse_repository_url(text: str) -> Repository:
    """Read `https://github.com/owner/repo[.git][/]`, also with `http:` and with `/tree/<ref>`.

    Raises:
        MalformedError: it is anything else; the sentence says what is wrong with it.
    """
    if len(text) > _LONGEST:
        raise MalformedError(f"A repository's URL has at most {_LONGEST} characters, this one has {len(text)}.")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _refused(text, "it has a space, a control character or one beyond ASCII; write it plainly")
    for character, what in (("\\", "a backslash"), ("%", "percent-encoding"), ("?", "a query"), ("#", "a fragment")):
        if character in text:
            raise _refused(text, f"it has {what}; leave that out")
    match = _URL.fullmatch(text)
    if not match or match["scheme"].lower() not in ("http", "https"):
        raise _refused(text, "it does not begin with https:// and a host")
    _check_host(text, match["host"])
    owner, name, ref = _split_path(text, match["path"] or "")
    url = f"https://{HOST}/{owner}/{name}" + (f"/tree/{ref}" if ref else "")
    return Repository(owner, name, ref, url)


def _check_host(text: str, host: str) -> None:
    if "@" in host:
        raise _refused(text, "it has a user or a token before the host; give the token as auth_token")
    if ":" in host:
        raise _refused(text, "it has a port; leave that out")
    if host.lower() != HOST:
        raise _refused(text, f"only repositories on {HOST} are taken")


def _split_path(text: str, path: str) -> tuple[str, str, str | None]:
    owner, _, rest = path.removeprefix("/").removesuffix("/").partition("/")
    name, _, tail = rest.partition("/")
    name = name.removesuffix(".git")
    if not owner or not name:
        raise _refused(text, "it names no repository")
    if not _OWNER.fullmatch(owner):
        raise _refused(text, "its owner is no name that GitHub gives")
    if not _NAME.fullmatch(name) or name in (".", "..") or name.lower().endswith(".git"):
        raise _refused(text, "its repository is no name that GitHub gives")
    if rest in (name, f"{name}.git"):
        return owner, name, None
    kind, _, ref = tail.partition("/")
    if kind != "tree" or not ref:
        raise _refused(text, "after the repository there may only be /tree/ and a branch, tag or commit")
    if not _is_ref(ref):
        raise _refused(text, "what follows /tree/ is no branch, tag or commit")
    return owner, name, ref


def _is_ref(ref: str) -> bool:
    parts = ref.split("/")
    return (
        _REF.fullmatch(ref) is not None
        and ".." not in ref
        and ref != "@"
        and not ref.startswith("-")
        and not ref.endswith(".")
        and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
    )


def _refused(text: str, why: str) -> MalformedError:
    # A text with a user, a query or a fragment may hold a token, which no message may repeat.
    shown = "This URL" if any(mark in text for mark in "@?#") else ascii(text if len(text) <= 100 else text[:99] + "…")
    return MalformedError(
        f"{shown} is not taken: {why}. Give https://{HOST}/owner/repository, or that with /tree/branch."
    )
