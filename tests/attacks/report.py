"""What a run of the corpus found, as a table for people and for docs/security.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.attacks.harness import Outcome
from tests.attacks.model import GROUPS, Attack, Upload

BEGIN = "<!-- attacks: written by python -m tests.attacks --level all --write docs/security.md -->"
END = "<!-- attacks: end -->"


@dataclass(frozen=True)
class Row:
    """A group at one level. `wrong`: names of those not as stated."""

    ran: int
    wrong: tuple[str, ...]
    not_promised: int


def rows(outcome: Outcome) -> dict[str, Row]:
    """By group."""
    found = {}
    for group in GROUPS:
        first = group.split()[0] + "-"
        ran = [name for name in outcome.ran if name.startswith(first)]
        wrong = tuple(sorted(name for name in outcome.wrong if name in ran))
        left_out = sum(name.startswith(first) for name in outcome.not_promised)
        if ran or left_out:
            found[group] = Row(len(ran), wrong, left_out)
    return found


def around(outcome: Outcome) -> list[str]:
    return [f"{name}: {text}" for name, faults in outcome.wrong.items() if name.startswith("around") for text in faults]


def text_table(level: str, outcome: Outcome) -> str:
    lines = [f"{level:18} {'attacks':>8} {'as stated':>10} {'not':>5} {'not promised':>13}"]
    for group, row in rows(outcome).items():
        stated = row.ran - len(row.wrong)
        lines.append(f"{group:18} {row.ran:8} {stated:10} {len(row.wrong):5} {row.not_promised:13}")
    for name, faults in sorted(outcome.wrong.items()):
        lines += [f"  {name}: {fault}" for fault in faults]
    return "\n".join(lines)


def markdown(by_level: Mapping[str, Outcome | str], uploads: Sequence[Upload], attacks: Sequence[Attack]) -> str:
    """A section with a column a level; a text in the place of an outcome says why there is none."""
    lines = [
        BEGIN,
        "",
        "| group | attacks | " + " | ".join(f"`{level}`" for level in by_level) + " |",
        "| --- | ---: | " + " | ".join("---" for _ in by_level) + " |",
    ]
    table = {level: rows(found) for level, found in by_level.items() if isinstance(found, Outcome)}
    for group in GROUPS:
        count = [attack.group for attack in uploads].count(group) + [attack.group for attack in attacks].count(group)
        if not count:
            continue
        cells = [_cell(table[level].get(group)) if level in table else "not run" for level in by_level]
        lines.append(f"| {group} | {count} | " + " | ".join(cells) + " |")
    lines += [""] + [f"`{level}`: {found}\n" for level, found in by_level.items() if isinstance(found, str)]
    for level, found in by_level.items():
        if isinstance(found, Outcome):
            lines += _reasons(level, found)
    return "\n".join([*lines, "", END])


def replaced(document: str, section: str) -> str:
    """The document with the section in its place, or at its end where it has none yet."""
    if BEGIN in document and END in document:
        return document[: document.index(BEGIN)] + section + document[document.index(END) + len(END) :]
    return f"{document.rstrip()}\n\n## Attacks\n\n{section}\n"


def _cell(row: Row | None) -> str:
    if row is None or not row.ran:
        return "not promised"
    said = f"{row.ran - len(row.wrong)} of {row.ran} as stated"
    return said + (f", {row.not_promised} not promised" if row.not_promised else "")


def _reasons(level: str, outcome: Outcome) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in outcome.not_promised.items():
        by_reason.setdefault(reason, []).append(name)
    shown = []
    for reason, names in by_reason.items():
        which = ", ".join(f"`{name}`" for name in names) if len(names) <= 12 else f"{len(names)} attacks"
        shown.append(f"- not promised at `{level}`, {reason}: {which}")
    return shown + [f"- **not as stated** at `{level}`: `{name}`" for name in sorted(outcome.wrong)]
