"""`python -m tests.attacks`: the corpus against a real node at each level. Exit status 1: one is not as stated."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.catalogue import PROJECTS, UPLOADS
from tests.attacks.harness import Outcome, batches, run_batch, run_uploads, warm_up
from tests.attacks.model import GROUPS, LEVELS, Attack, Upload
from tests.attacks.repeat import repeat
from tests.attacks.report import markdown, replaced, text_table
from tests.attacks.target import CannotRunError, Range, local_range, remote_range


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    attacks = [a for a in PROJECTS if _is_chosen(a, given)]
    uploads = [u for u in UPLOADS if _is_chosen(u, given)]
    if not attacks and not uploads:
        _say(f"no attack is called so; groups are {', '.join(GROUPS)}")
        return 2
    levels = LEVELS if given.level == "all" else (given.level,)
    found: dict[str, Outcome | str] = {}
    for level in ("given",) if given.url else levels:
        with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
            try:
                place = remote_range(Path(folder), given.url, os.environ.get("MESH_API_TOKEN")) if given.url else None
                with place or local_range(Path(folder), level) as at:
                    warm_up(at)
                    if given.repeat:
                        _say(repeat(at, attacks, given.repeat))
                    else:
                        found[at.level] = _run(at, attacks, uploads, everything=given.unpromised)
            except CannotRunError as error:
                found[level] = str(error)
                _say(f"{level}: {error}")
    if given.write:
        path = Path(given.write)
        path.write_text(replaced(path.read_text(), markdown(found, uploads, attacks)))
    return int(any(not isinstance(outcome, Outcome) or outcome.wrong for outcome in found.values()))


def _run(at: Range, attacks: Sequence[Attack], uploads: Sequence[Upload], *, everything: bool) -> Outcome:
    whole = Outcome()
    started = time.monotonic()
    if uploads:
        whole.take(run_uploads(at, uploads))
    for batch in batches(attacks):
        before = time.monotonic()
        whole.take(run_batch(at, batch, everything=everything))
        _say(f"{at.level}, {batch.name}: {len(batch.attacks)} attacks in {time.monotonic() - before:.0f} s")
    _say(text_table(at.level, whole))
    _say(f"{at.level}: {len(whole.ran)} attacks in {time.monotonic() - started:.0f} s")
    return whole


def _is_chosen(attack: Attack | Upload, given: argparse.Namespace) -> bool:
    name = f"{attack.group.split()[0]}-{attack.name}"
    return (not given.group or attack.group in given.group) and (
        not given.only or any(only in (attack.name, name) for only in given.only)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--level", choices=(*LEVELS, "all"), default="all")
    parser.add_argument("--url", help="a node that runs already; its limits must be those of harness.SETTINGS")
    parser.add_argument("--group", action="append", choices=GROUPS, help="may be given more than once")
    parser.add_argument("--only", action="append", help="the name of one attack; may be given more than once")
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="N evaluations one after another, and what they cost the node"
    )
    parser.add_argument("--unpromised", action="store_true", help="also what the level does not promise")
    parser.add_argument("--write", metavar="FILE", help="put the table into this document")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
