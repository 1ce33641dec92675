"""Whether this node is the one to take up an evaluation that it does not drive."""

import logging
from collections.abc import Sequence

from testmesh.logs import about
from testmesh.model import Evaluation
from testmesh.node.membership.ownership import successor

log = logging.getLogger(__name__)


def is_next(evaluation: Evaluation, address: str, live: Sequence[str]) -> bool:
    """`address` is this node's, `live` those of the other live nodes. Says in the log why."""
    if evaluation.owner == address:
        log.info(
            "going on with evaluation %s, which an earlier process or node drove",
            evaluation.id,
            extra=about(evaluation=evaluation.id),
        )
        return True
    if evaluation.owner in live:
        return False
    next_owner = successor(evaluation, (*live, address))
    if next_owner is None:
        log.warning(
            "evaluation %s waits for one of %s to come back",
            evaluation.id,
            ", ".join(evaluation.holders),
            extra=about(evaluation=evaluation.id),
        )
    elif next_owner == address:
        log.warning(
            "taking over evaluation %s from %s, which is gone",
            evaluation.id,
            evaluation.owner,
            extra=about(evaluation=evaluation.id, node=evaluation.owner),
        )
    return next_owner == address
