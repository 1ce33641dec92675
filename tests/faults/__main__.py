"""`python -m tests.faults`: every fault against real nodes. Exit status 1: an invariant did not hold."""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.catalogue import all_scenarios
from tests.faults.model import GROUPS, Record, Scenario
from tests.faults.report import line, section, text_table
from tests.faults.run import run_scenario, what_is_missing
from tests.support.mesh import build_environment


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    chosen = [one for one in all_scenarios() if _is_chosen(one, given)]
    if given.list:
        for one in chosen:
            _say(f"{one.group:8} {one.name:28} {one.says}")
        return 0
    if not chosen:
        _say("no scenario is called so; --list shows them all")
        return 2
    if given.write:
        section(Path(given.write).read_text(), [], [], 0)  # now, not after everything was run
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    seed = given.seed if given.seed is not None else secrets.randbelow(1_000_000)
    _say(f"seed {seed}")
    try:
        records = _run_all(chosen * given.repeat, seed, keep=given.keep)
    except KeyboardInterrupt:
        _say("interrupted; nothing is left")
        return 130
    _say(text_table(records))
    if given.write:
        path = Path(given.write)
        names = [one.name for one in all_scenarios()]
        path.write_text(section(path.read_text(), records, names, seed))
    return int(any(record.broken for record in records))


def _run_all(chosen: Sequence[Scenario], seed: int, *, keep: bool) -> list[Record]:
    """The folders of those that did not hold are kept, for their logs; or of all."""
    missing = what_is_missing()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o711)  # tests run as users of their own, who must get to their folders
    kept, records = False, []
    try:
        built = folder / "built"
        built.mkdir()
        build_environment(built)
        for number, one in enumerate(chosen):
            place = folder / f"{number:03}-{one.name}"
            place.mkdir()
            record = run_scenario(one, place, built, seed + number, missing)
            records.append(record)
            _say(line(record))
            if record.broken or keep:
                kept = True
                _say(f"  logs: {place}/*/*.log")
            else:
                shutil.rmtree(place)
    finally:
        shutil.rmtree(folder / "built", ignore_errors=True)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    return records


def _is_chosen(one: Scenario, given: argparse.Namespace) -> bool:
    return (
        (not given.group or one.group in given.group)
        and (not given.only or one.name in given.only)
        and (one.is_short or not given.short)
    )


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="may be given more than once")
    parser.add_argument("--group", action="append", choices=GROUPS, help="may be given more than once")
    parser.add_argument("--short", action="store_true", help="only what the test suite runs too")
    parser.add_argument(
        "--seed", type=int, help="of everything that is drawn; without it a random one, which is printed"
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="everything N times")
    parser.add_argument("--keep", action="store_true", help="keep the nodes' folders, also where all held")
    parser.add_argument("--list", action="store_true", help="show what there is")
    parser.add_argument("--write", metavar="FILE", help="put rows into this document's table")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
