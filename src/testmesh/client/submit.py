"""Submitting what a person named on the command line: zips and folders, or repositories."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from testmesh.client.api import ClientError, MeshClient
from testmesh.client.multipart import Multipart
from testmesh.client.pack import Packed, pack
from testmesh.client.text import clean


@dataclass(frozen=True, slots=True)
class Submission:
    inputs: tuple[str, ...]
    tests: Path | None
    options: Mapping[str, Any]
    auth_token: str | None = None  # for private repositories


def submit_inputs(client: MeshClient, submission: Submission, folder: Path, notes: Console) -> str:
    """Pack into `folder` what has to be packed, submit it and give the evaluation's id.

    On a terminal `notes` shows the progress.

    Raises:
        ClientError, PackError: it cannot be, and why.
    """
    urls = [text for text in submission.inputs if "://" in text]
    if urls and len(urls) < len(submission.inputs):
        raise ClientError("give either URLs or zips and folders; one evaluation takes one kind")
    if urls:
        if submission.tests:
            raise ClientError("--tests goes with zips and folders, not with URLs")
        return client.submit_repositories(urls, submission.options, submission.auth_token)
    with _progress(notes) as progress:
        task = progress.add_task("packing", total=None)
        parts = {"file": pack([Path(text) for text in submission.inputs], folder / "submission.zip")}
        if submission.tests:
            parts["tests"] = pack([submission.tests], folder / "tests.zip")
        for packed in parts.values():
            _name_left_out(packed, notes)
        files = [(field, packed.name, packed.path) for field, packed in parts.items()]
        body = Multipart(files, submission.options, lambda sent: progress.update(task, completed=sent))
        progress.update(task, description="sending", total=len(body))
        return client.submit_archive(body)


@contextmanager
def _progress(notes: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_interactive) as progress:
        yield progress


def _name_left_out(packed: Packed, notes: Console) -> None:
    for name in packed.left_out:
        notes.print(Text(f"left out, a link to elsewhere or no ordinary file: {clean(name)}"), soft_wrap=True)
