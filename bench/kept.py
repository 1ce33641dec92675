"""The figures behind a page, in a file beside it: a run that measures some of them leaves the others as they were."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures.setting import Measured
from bench.row import Row


@dataclass(frozen=True, slots=True)
class Kept:
    """What one figure gave. `command` measured it, on `machine`; `drawn`: its picture is the page's."""

    command: str
    machine: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...] = ()
    drawn: bool = False


def kept_of(measured: Measured, command: str, machine: str) -> Kept:
    return Kept(command, machine, measured.rows, measured.differences, bool(measured.picture))


def read(path: Path) -> dict[str, Kept]:
    """By figure; empty where there is no file yet.

    Raises:
        ValueError: it is no file of figures.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: _kept(fields) for name, fields in found.items()}
    except FileNotFoundError:
        return {}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no file of figures") from error


def write(path: Path, figures: Mapping[str, Kept]) -> None:
    content = {name: asdict(kept) for name, kept in figures.items()}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _kept(fields: dict[str, Any]) -> Kept:
    rows = tuple(Row(**row) for row in fields["rows"])
    return Kept(fields["command"], fields["machine"], rows, tuple(fields["differences"]), fields["drawn"])
