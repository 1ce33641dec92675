"""Makes docs/img/cli.svg: `testmesh submit examples --watch` on a real mesh of two nodes, in the middle and at the end.

PYTHONPATH=src .venv/bin/python -m tests.pictures_cli [FILE]
"""

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from testmesh.client.api import MeshClient
from testmesh.client.live import LiveView
from testmesh.client.render import grade_table
from testmesh.client.submit import Submission, submit_inputs
from testmesh.client.watch import follow_live
from tests.support.mesh import mesh

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 118, 22
# Names that every machine has something for: a picture in a repository loads nothing from elsewhere.
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"


def graded(url: str) -> list[dict[str, Any]]:
    """Every state that is shown while the examples are graded."""
    client = MeshClient([url])
    with tempfile.TemporaryDirectory() as folder:
        submission = Submission((str(ROOT / "examples"),), None, {})
        evaluation_id = submit_inputs(client, submission, Path(folder), Console(file=io.StringIO()))
    return list(follow_live(client, evaluation_id))


def picture(documents: list[dict[str, Any]]) -> str:
    """The moment with the most to see, and the last, as rich draws them."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True)
    prompt = Text.assemble(("$ ", "bold green"), "testmesh submit examples --watch")
    middle = max(documents, key=_worth_seeing)
    for shown in (prompt, Text(middle["id"]), LiveView(middle), Text(), grade_table(documents[-1])):
        console.print(shown)
    return without_links(console.export_svg(title="testmesh", unique_id="cli"))


def without_links(svg: str) -> str:
    """With the reader's own fonts in place of rich's, which come from a server."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: *[^;]*;", f"font-family: {FONTS};", svg)
    return re.sub(r"[ \t]+$", "", re.sub(r"\n\s*\n+", "\n", svg), flags=re.MULTILINE)


def _worth_seeing(document: dict[str, Any]) -> int:
    info = document["_run_info"]
    return min(int(info["executed"]), 2 * int(info["running"]))


def main(arguments: list[str]) -> None:
    target = Path(arguments[0]) if arguments else ROOT / "docs" / "img" / "cli.svg"
    with tempfile.TemporaryDirectory() as folder, mesh(Path(folder), 2) as nodes:
        target.write_text(picture(graded(nodes[0].url)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
