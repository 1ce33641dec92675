"""What an attack is, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent

LEVELS = ("full", "portable", "none")
GROUPS = (
    "archives",
    "dishonest exits",
    "files",
    "kernel",
    "processes",
    "network",
    "resources",
    "neighbours",
    "installs",
)


@dataclass(frozen=True, slots=True)
class Expected:
    """One module's result. None: whatever it is. `detail` is a regular expression to be found in it.

    `refusals`: as many attempts at least must say that they were refused, and none that it was not.
    `is_tried`: the attack must have said that it ran; one that ends its process cannot, its counts show it.
    """

    verdicts: tuple[str, ...]
    passed: int | None = None
    failed: int | None = None
    errors: int | None = 0
    skipped: int | None = 0
    detail: str = ""
    refusals: int = 0
    is_tried: bool = False


@dataclass(frozen=True, slots=True)
class NotPromised:
    """What the level does not promise: the attack is not run there."""

    reason: str


NOTHING_AT_NONE = NotPromised("level none has no walls")


@dataclass(frozen=True, slots=True)
class Attack:
    """A hostile project: `files` by path, beside `kit.py` and `target.json`.

    Judged is its module `test_it.py`; any other module of it must pass.

    `at` has what differs from `expected` at some levels. `takes_long`: it runs into a time limit. `installs`: foreign
    code runs while its environment is made.
    """

    name: str
    group: str
    shows: str  # one line for people
    files: Mapping[str, str | bytes]
    expected: Expected
    at: Mapping[str, Expected | NotPromised] = field(default_factory=dict)
    takes_long: bool = False
    installs: bool = False
    body: str = ""  # of its one test, where it is a mere attempt that can share a module

    def at_level(self, level: str) -> Expected | NotPromised:
        """Level none promises honest verdicts and nothing else."""
        is_about_verdicts = self.group == "dishonest exits" or (self.group == "installs" and not self.installs)
        if level == "none" and not is_about_verdicts:
            return NOTHING_AT_NONE
        return self.at.get(level, self.expected)

    @property
    def folder(self) -> str:
        return f"{self.group.split()[0]}-{self.name}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A hostile archive, refused at the door with `status`."""

    name: str
    archive: Callable[[], bytes]
    status: int
    group: str = "archives"


def attack_file(name: str, body: str) -> str:
    """A module of one test that says that it ran and then does `body`."""
    return f"from kit import *\n\n\ndef test_attack():\n    tried({name!r})\n{indent(dedent(body).strip(), '    ')}\n"


def escape(
    group: str,
    name: str,
    shows: str,
    body: str,
    refusals: int,
    at: Mapping[str, Expected | NotPromised] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    takes_long: bool = False,
) -> Attack:
    """One that tries and tells: its test passes whatever it got, what it printed decides."""
    test = attack_file(name, body)
    expected = Expected(("passed",), passed=1, failed=0, refusals=refusals, is_tried=True)
    return Attack(
        name, group, shows, {"test_it.py": test} | dict(files or {}), expected, dict(at or {}), takes_long, body=body
    )


def project(
    group: str,
    name: str,
    shows: str,
    expected: Expected,
    files: Mapping[str, str | bytes],
    at: Mapping[str, Expected | NotPromised] | None = None,
    takes_long: bool = False,
    installs: bool = False,
) -> Attack:
    """One that ends somehow; the files' texts may be indented."""
    tidy = {path: dedent(text).lstrip("\n") if isinstance(text, str) else text for path, text in files.items()}
    return Attack(name, group, shows, tidy, expected, dict(at or {}), takes_long, installs)
