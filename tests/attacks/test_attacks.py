"""A part of the corpus at every level that this machine gives. The whole: `python -m tests.attacks`."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.attacks.harness import Batch, Outcome, run_batch, run_uploads, warm_up
from tests.attacks.model import LEVELS
from tests.attacks.short import short_batches, short_uploads
from tests.attacks.target import CannotRunError, local_range

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(400)]

UPLOADS = [f"archives-{upload.name}" for upload in short_uploads()]
ATTACKS = [attack.folder for batch in short_batches("full") for attack in batch.attacks]
AROUND = [f"around {batch.name}" for batch in short_batches("full")]
AT_THE_DOOR = "none"  # what is refused there meets no box: one level will do, and this one every machine has


AT_OTHERS = "in the short form it is run at the other levels only"


def _of(batches: Iterable[Batch]) -> set[str]:
    return {name for batch in batches for name in (f"around {batch.name}", *(a.folder for a in batch.attacks))}


@pytest.fixture(scope="module", params=LEVELS)
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """All of them at one level, on one node."""
    found = Outcome()
    try:
        # Not pytest's own folder, which no other user may enter; level portable runs tests as one.
        with tempfile.TemporaryDirectory(prefix="attacks-") as folder, local_range(Path(folder), request.param) as at:
            warm_up(at)
            chosen = short_batches(request.param)
            found.not_promised = dict.fromkeys(_of(short_batches("full")) - _of(chosen), AT_OTHERS)
            for batch in chosen:
                found.take(run_batch(at, batch, is_short=True))
            if request.param == AT_THE_DOOR:
                found.take(run_uploads(at, short_uploads()))
    except CannotRunError as error:
        pytest.skip(str(error))
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_as_stated(outcome: Outcome, name: str) -> None:
    if name in outcome.not_promised:
        pytest.skip(outcome.not_promised[name])
    assert name in outcome.ran
    assert not outcome.wrong.get(name), "\n".join(outcome.wrong[name])


@pytest.mark.parametrize("name", AROUND)
def test_nothing_around_the_attacks_was_touched(outcome: Outcome, name: str) -> None:
    if name in outcome.not_promised:
        pytest.skip(outcome.not_promised[name])
    assert not outcome.wrong.get(name), "\n".join(outcome.wrong[name])


@pytest.mark.parametrize("name", [*UPLOADS, "around archives"])
@pytest.mark.parametrize("outcome", [AT_THE_DOOR], indirect=True)
def test_an_upload_is_refused_and_leaves_nothing(outcome: Outcome, name: str) -> None:
    assert name.startswith("around") or name in outcome.ran
    assert not outcome.wrong.get(name), "\n".join(outcome.wrong[name])
