"""Submitting what a person named on the command line: zips and folders, or repositories."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
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
    parts = {"file": pack([Path(text) for text in submission.inputs], folder / "submission.zip")}
    if submission.tests:
        parts["tests"] = pack([submission.tests], folder / "tests.zip")
    for packed in parts.values():
        _name_left_out(packed, notes)
    files = [(field, packed.name, packed.path) for field, packed in parts.items()]
    return client.submit_archive(Multipart(files, submission.options))


def _name_left_out(packed: Packed, notes: Console) -> None:
    for name in packed.left_out:
        notes.print(Text(f"left out, a link to elsewhere or no ordinary file: {clean(name)}"))
