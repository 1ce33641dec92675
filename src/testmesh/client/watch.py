"""Following an evaluation to its end: a live picture on a terminal, a line a change elsewhere."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from rich.console import Console
from rich.live import Live

from testmesh.client.api import MeshClient, NoStreamError
from testmesh.client.live import LiveView, module_text, project_text
from testmesh.client.sse import DONE, merged
from testmesh.client.summary import Document, has_ended, is_waiting, module_line, progress, project_rows

POLL_S = 0.5
_REFRESHES_PER_SECOND = 4
_MOST_POLLS = 32  # between two attempts to get a stream


def follow(client: MeshClient, evaluation_id: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[Document]:
    """The evaluation's document, asked for again and again; the last one has ended."""
    while True:
        document = client.evaluation(evaluation_id)
        yield document
        if has_ended(document):
            return
        sleep(POLL_S)


def follow_live(
    client: MeshClient, evaluation_id: str, sleep: Callable[[float], None] = time.sleep
) -> Generator[Document, None, None]:
    """As `follow`, but fed by the mesh's live events wherever there are any.

    A stream that breaks is begun again behind the last event, at the node that answers then. Where there is none the
    document is asked for instead, with an attempt at a stream now and then. The first and the last document, and one
    after every break, are read whole: what a stream lacked is missing for no longer.
    """
    document = client.evaluation(evaluation_id)
    yield document
    last_id: str | None = None
    failures = polls = 0
    while not has_ended(document):
        if polls:
            polls -= 1
        else:
            failures += 1
            for step in _streamed(client, evaluation_id, document, last_id):
                document, last_id = step
                failures = 0
                yield document
            polls = min(2**failures, _MOST_POLLS) if failures else 0
        document = client.evaluation(evaluation_id)
        yield document
        if not has_ended(document):
            sleep(POLL_S)


def _streamed(
    client: MeshClient, evaluation_id: str, document: Document, last_id: str | None
) -> Generator[tuple[Document, str | None], None, None]:
    """The document after each bunch of events, and the last one's id, until `done` or until the stream breaks."""
    try:
        with closing(client.events(evaluation_id, last_id)) as bunches:
            for bunch in bunches:
                for event in bunch:
                    document, last_id = merged(document, event.part), event.id or last_id
                yield document, last_id
                if any(event.kind == DONE for event in bunch):
                    return
    except NoStreamError:
        return


def watch(client: MeshClient, evaluation_id: str, console: Console) -> Document:
    """Show progress until the evaluation has ended; its last document."""
    client.learn_nodes()
    documents = follow_live(client, evaluation_id)
    with closing(documents):
        return _watch_live(documents, console) if console.is_interactive else _watch_lines(documents, console)


def _watch_live(documents: Iterator[Document], console: Console) -> Document:
    view = LiveView(next(documents))
    with Live(get_renderable=lambda: view, console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND):
        for document in documents:
            view = LiveView(document)
    return view.document


def _watch_lines(documents: Iterator[Document], console: Console) -> Document:
    document: Document = {}
    told: set[tuple[str, str]] = set()
    ended: set[str] = set()
    for document in documents:
        _, modules = progress(document)
        for project, results in sorted(document["module_results"].items()):
            for path, result in sorted(results.items()):
                if (project, path) not in told and not is_waiting(result["verdict"]):
                    told.add((project, path))
                    text = module_text(module_line(project, path, result), len(told), max(modules, len(told)))
                    console.print(text, soft_wrap=True)
        for row in project_rows(document):
            if row.has_ended and row.name not in ended:
                ended.add(row.name)
                console.print(project_text(row), soft_wrap=True)
    return document
