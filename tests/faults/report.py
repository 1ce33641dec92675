"""What the scenarios found, as lines for people and as the table of docs/reliability.md."""

import re
import statistics
from collections.abc import Sequence

from tests.faults.model import Record

BEGIN = "<!-- faults: written by python -m tests.faults --write docs/reliability.md -->"
END = "<!-- faults: end -->"


def line(record: Record) -> str:
    """As one ends."""
    if record.skipped:
        return f"{record.name}: skipped: {record.skipped}"
    said = "held" if record.held else "BROKEN"
    told = [f"{record.name}: {said} in {record.duration:.0f} s, {', '.join(_figures(record))}"]
    return "\n".join([*told, *(f"  {text}" for text in record.broken)])


def text_table(records: Sequence[Record]) -> str:
    lines = [
        f"{'scenario':28} {'result':8} {'s':>5} {'noticed':>9} {'moved':>7} {'equal':>7} {'replaced':>9} {'again':>6}"
    ]
    for one in records:
        result = "skipped" if one.skipped else "held" if one.held else "BROKEN"
        lines.append(
            f"{one.name:28} {result:8} {one.duration:5.0f} {_median(one.noticed):>9} {_median(one.moved):>7} "
            f"{_seconds(one.equal_after):>7} {one.replaced:9} {one.repeated:6}"
        )
    held = sum(one.held for one in records)
    skipped = sum(bool(one.skipped) for one in records)
    return "\n".join([*lines, f"{held} held, {len(records) - held - skipped} broken, {skipped} skipped"])


def section(document: str, records: Sequence[Record], names: Sequence[str], seed: int) -> str:
    """The document with a row for each record; rows of other scenarios in `names` stay, and come in that order.

    Raises ValueError where the document has no place for them.
    """
    before, rest = document.split(BEGIN)
    old, after = rest.split(END)
    rows = {name: text for text in old.splitlines() if (name := _name_of(text)) in names}
    rows |= {one.name: _row(one, seed) for one in records}
    lines = [
        BEGIN,
        "",
        "Times in seconds: *noticed*, from the fault to the lines in the survivors' logs, the median of"
        " them; *moved*, from the first of these until all modules of the dead node ran elsewhere; *equal*, from the"
        " end of the faults and of the evaluations until all nodes showed the same. *Replaced*: final results that gave"
        " way to another. *Again*: attempts beyond a module's first.",
        "",
        "| group | scenario | what happens | result | noticed | moved | equal | replaced | again | seed |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(rows[name] for name in names if name in rows),
        "",
        END,
    ]
    return before + "\n".join(lines) + after


def _row(one: Record, seed: int) -> str:
    result = (
        "held" if one.held else f"not run: {one.skipped}" if one.skipped else f"**broken**: {'; '.join(one.broken)}"
    )
    shown = result.replace("|", "/").replace("\n", " ")
    return (
        f"| {one.group} | `{one.name}` | {one.says} | {shown} | {_median(one.noticed)} | {_median(one.moved)} "
        f"| {_seconds(one.equal_after)} | {one.replaced} | {one.repeated} | {seed} |"
    )


def _name_of(row: str) -> str:
    found = re.match(r"\| \w+ \| `([^`]+)` \|", row)
    return found[1] if found else ""


def _figures(record: Record) -> list[str]:
    found = [f"{record.evaluations} evaluations of {record.modules} modules"]
    if record.noticed:
        found.append("noticed after " + ", ".join(f"{seconds:.2f}" for seconds in record.noticed) + " s")
    if record.moved:
        found.append("moved after " + ", ".join(f"{seconds:.2f}" for seconds in record.moved) + " s")
    if record.equal_after is not None:
        found.append(f"equal after {record.equal_after:.1f} s")
    return [*found, f"{record.replaced} replaced", f"{record.repeated} run again"]


def _median(values: Sequence[float]) -> str:
    return _seconds(statistics.median(values) if values else None)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
