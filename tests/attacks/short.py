"""The part of the corpus that the suite runs at every level: all kinds, within a minute a level."""

from tests.attacks.bundle import can_share
from tests.attacks.catalogue import PROJECTS, UPLOADS
from tests.attacks.harness import Batch
from tests.attacks.model import Attack, Upload

_EVERY = 4  # of the dishonest exits, which are many and alike
_SLOW = frozenset({"30000-files", "1500-levels", "fork-bomb-growing", "holds-the-output"})
_CHOSEN = frozenset(
    {"memory", "memory-of-many", "disk", "output-garbage", "long-names", "odd-names", "core-dump", "sparse"}
)
_LONG = frozenset({"sleeps", "stops-itself", "deaf-itself", "non-daemon-thread", "stops-in-import"})


def short_uploads() -> tuple[Upload, ...]:
    return UPLOADS


def short_batches(level: str) -> tuple[Batch, ...]:
    """At level none what waits for a time limit is left out: a run is ended there as at portable."""
    quick = [attack for attack in PROJECTS if not attack.takes_long and not attack.installs]
    dishonest = [attack for attack in quick if attack.group == "dishonest exits"][::_EVERY]
    chosen = dishonest + [attack for attack in quick if _is_chosen(attack)]
    long = tuple(attack for attack in PROJECTS if attack.takes_long and attack.name in _LONG)
    batches = (
        Batch("quick", tuple(chosen), {"module_timeout_s": 60.0}),
        Batch("long", long, {"module_timeout_s": 5.0}, siblings=0),
    )
    return batches[:1] if level == "none" else batches


def _is_chosen(attack: Attack) -> bool:
    if attack.group == "dishonest exits" or attack.name in _SLOW:
        return False
    return can_share(attack) or attack.group != "resources" or attack.name in _CHOSEN
