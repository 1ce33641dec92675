"""Following an evaluation to its end: a live picture on a terminal, a line a module elsewhere."""

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live

from testmesh.client.api import MeshClient
from testmesh.client.render import live_view, module_text
from testmesh.client.summary import Document, has_ended, is_waiting, module_lines, progress

POLL_S = 0.5


def follow(client: MeshClient, evaluation_id: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[Document]:
    """The evaluation's document, again and again; the last one has ended."""
    while True:
        document = client.evaluation(evaluation_id)
        yield document
        if has_ended(document):
            return
        sleep(POLL_S)


def watch(client: MeshClient, evaluation_id: str, console: Console) -> Document:
    """Show progress until the evaluation has ended; its last document."""
    client.learn_nodes()
    documents = follow(client, evaluation_id)
    return _watch_live(documents, console) if console.is_terminal else _watch_lines(documents, console)


def _watch_live(documents: Iterator[Document], console: Console) -> Document:
    document: Document = {}
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for document in documents:
            live.update(live_view(document, console.height), refresh=True)
    return document


def _watch_lines(documents: Iterator[Document], console: Console) -> Document:
    document: Document = {}
    told: set[tuple[str, str]] = set()
    for document in documents:
        _, modules = progress(document)
        for line in module_lines(document):
            if not is_waiting(line) and (line.project, line.module) not in told:
                told.add((line.project, line.module))
                console.print(module_text(line, len(told), modules), soft_wrap=True)
    return document
