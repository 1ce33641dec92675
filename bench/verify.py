"""Grade a folder of projects with one node and with four, and compare every module with plain pytest.

    python -m bench.verify FOLDER [--timeout 60] [--nodes 1 4] [--write docs/verification.md]

Each subfolder is a project, or holds some. Exit status 0 only if every module's passed, failed, errors and skipped are
the same everywhere, and what hangs under plain pytest ends as `timeout`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.corpora.corpus import Key
from bench.nodes import running_nodes
from bench.reference import Outcome, make_environment, run_module
from bench.systems.graded import outcome_of
from testmesh.client.api import MeshClient
from testmesh.client.multipart import Multipart
from testmesh.client.pack import pack
from testmesh.client.watch import follow


@dataclass(frozen=True, slots=True)
class Graded:
    """What a mesh said: an outcome and a verdict a module, and how long the evaluation took."""

    outcomes: Mapping[Key, Outcome]
    verdicts: Mapping[Key, str]
    seconds: float


def grade(archive: Path, nodes: int, timeout_s: float) -> Graded:
    with tempfile.TemporaryDirectory() as folder, running_nodes(Path(folder), nodes) as urls:
        client = MeshClient(urls)
        options = {"module_timeout_s": timeout_s}
        evaluation_id = client.submit_archive(Multipart([("file", "class.zip", archive)], options))
        *_, document = follow(client, evaluation_id)
    outcomes, verdicts = {}, {}
    for project, modules in document["module_results"].items():
        for module, result in modules.items():
            verdicts[project, module] = result["verdict"]
            outcomes[project, module] = outcome_of(result)
    return Graded(outcomes, verdicts, float(document["_run_info"]["eval_time"]))


def reference(folder: Path, keys: list[Key], timeout_s: float) -> tuple[dict[Key, Outcome], float]:
    """Every module by itself, one at a time: their ports are the same."""
    found: dict[Key, Outcome] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as environments:
        pythons: dict[str, Path] = {}
        for project, module in keys:
            if project not in pythons:
                pythons[project] = make_environment(folder / project, Path(environments) / f"env-{len(pythons)}")
            found[project, module] = run_module(pythons[project], folder / project, module, timeout_s)
            print(f"plain pytest  {project}  {module}  {found[project, module]}", flush=True)  # noqa: T201
    return found, time.monotonic() - begun


def table(expected: Mapping[Key, Outcome], graded: Mapping[int, Graded]) -> tuple[str, int]:
    """The comparison in Markdown, and how many modules differ anywhere."""
    heads = [f"{count} node{'s' if count > 1 else ''}" for count in graded]
    lines = [
        f"| project | module | plain pytest | {' | '.join(heads)} | |",
        f"| --- | --- | --- | {' | '.join('---' for _ in heads)} | --- |",
    ]
    differing = 0
    for key, outcome in expected.items():
        said = [mesh.outcomes.get(key) for mesh in graded.values()]
        same = all(found == outcome for found in said)
        differing += not same
        shown = " | ".join(str(found) for found in said)
        lines.append(f"| {key[0]} | {key[1]} | {outcome} | {shown} | {'same' if same else '**differs**'} |")
    return "\n".join(lines), differing


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.verify", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a module may take, everywhere")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        archive = pack(sorted(path for path in chosen.folder.iterdir() if path.is_dir()), Path(folder) / "class.zip")
        graded = {count: grade(archive.path, count, chosen.timeout) for count in chosen.nodes}
    keys = sorted(next(iter(graded.values())).outcomes)
    expected, seconds = reference(chosen.folder, keys, chosen.timeout)
    rows, differing = table(expected, graded)
    text = _page(rows, differing, expected, graded, seconds)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    print(text)  # noqa: T201
    return 1 if differing else 0


def _page(
    rows: str, differing: int, expected: Mapping[Key, Outcome], graded: Mapping[int, Graded], seconds: float
) -> str:
    hung = sum(outcome.end == "timeout" for outcome in expected.values())
    times = "; ".join(f"{count} node(s): {mesh.seconds:.0f} s" for count, mesh in graded.items())
    return f"""# Verification on real projects

Made by `python -m bench.verify FOLDER --write docs/verification.md`: every test module of real, public projects, run by
plain `python -m pytest MODULE` in an environment and a folder of its own, one at a time, and graded by a mesh. Nothing
of the projects is in this repository. Each cell is passed / failed / errors / skipped, or `timeout`.

**{len(expected)} modules, {differing} differ**; {hung} hang under plain pytest and end as `timeout`.
Time on one machine, environments included (plain pytest one module at a time: {seconds:.0f} s): {times}.

{rows}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
