"""An evaluation's records for a node that lacks them, a page at a time: all at once may be hundreds of megabytes."""

from testmesh.errors import NotFoundError
from testmesh.node.messaging.batching import MAX_RECORDS, MAX_TEXT, text_of
from testmesh.node.messaging.messages import Page
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import ResultStore


def page_of(store: ResultStore, evaluation_id: str, start: int) -> Page:
    """Its modules from number `start` on, as many as go into one message; on the last page the evaluation itself.

    The record comes last as one without its results would be run again: who reads page by page takes it over. Where
    this node has modules only, there is none. Should modules come or go between two pages, digests still differ
    afterwards and it is compared again.

    Raises:
        NotFoundError: the store has nothing of it.
    """
    evaluation = store.evaluation(evaluation_id)
    states = store.states(evaluation_id)
    if evaluation is None and not states:
        raise NotFoundError(f"This node knows no evaluation {evaluation_id}.")
    records: list[ModuleRecord] = []
    total = 0
    for number, state in enumerate(states[start:], start + 1):
        record = store.record(evaluation_id, state.project, state.module) or ModuleRecord(state)
        records.append(record)
        total += text_of(record.tests)
        if number < len(states) and (len(records) == MAX_RECORDS or total >= MAX_TEXT):
            return Page(Changes((), tuple(records)), following=number)
    return Page(Changes((evaluation,) if evaluation else (), tuple(records)))
