"""The demonstration: the examples, graded live, each grade compared with the one that is expected."""

import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from testmesh.client.api import MeshClient
from testmesh.client.render import grade_table
from testmesh.client.submit import Submission, submit_inputs
from testmesh.client.watch import watch

Document = dict[str, Any]

_COUNTED = ("verdict", "passed", "failed", "errors", "skipped")


def differences(document: Document, expected: Document) -> list[str]:
    """PURE: a sentence for every grade, verdict and count that is not as expected."""
    found = []
    for name in sorted(document["projects"].keys() | expected.keys()):
        if name not in document["projects"] or name not in expected:
            found.append(f"{name}: {'not graded' if name in expected else 'not expected'}")
            continue
        project = document["projects"][name]
        found += [
            f"{name}: {key} is {project[key]}, expected {expected[name][key]}"
            for key in ("nota", "%passed")
            if project[key] != expected[name][key]
        ]
        found += _module_differences(name, document["module_results"].get(name, {}), expected[name]["modules"])
    return found


def _module_differences(project: str, results: Document, expected: Document) -> list[str]:
    found = []
    for module in sorted(results.keys() | expected.keys()):
        actual = {key: results.get(module, {}).get(key) for key in _COUNTED}
        wanted = {key: expected.get(module, {}).get(key) for key in _COUNTED}
        if actual != wanted:
            detail = results.get(module, {}).get("detail", "")
            found.append(f"{project} {module}: {actual}, expected {wanted} {detail}".rstrip())
    return found


def run_demo(root: Path, url: str, token: str | None) -> int:
    """Submit root/examples to the mesh at `url`; 0 where every grade is as expected, else 1."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    client = MeshClient([url], token)
    console.print(Text("\nSubmitting examples/ …"))
    with tempfile.TemporaryDirectory(prefix="testmesh-") as folder:
        submission = Submission((str(root / "examples"),), None, {})
        evaluation_id = submit_inputs(client, submission, Path(folder), console)
    document = watch(client, evaluation_id, console)
    console.print(grade_table(document))
    expected = json.loads((root / "examples" / "expected.json").read_text())
    wrong = differences(document, expected)
    for line in wrong:
        console.print(Text(line, style="red"))
    good = f"Every grade is as examples/expected.json has it; the evaluation is {evaluation_id}."
    console.print(Text(f"{len(wrong)} differences from examples/expected.json." if wrong else good))
    return 1 if wrong else 0
