"""Reports are kept until an owner has them."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from testmesh.errors import InfrastructureError, PeerConflictError, PeerError, PeerRefusedError
from testmesh.model import Evaluation, ModuleResult, Verdict
from testmesh.node.messaging.messages import AttemptReport, AttemptReports, Load, Task
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes
from testmesh.node.storage.store import MemoryStore
from testmesh.node.working.outbox import Outbox
from tests.support.records import evaluation
from tests.support.waiting import until

ME = "me:1"


def report(of: str = "e1", module: str = "t1", *, ended: bool = True) -> AttemptReport:
    return AttemptReport(of, Task("p", module, 0, 1), ME, ModuleResult(Verdict.PASSED) if ended else None)


class Owners:
    """The other end: who is `away` refuses, whom `hangs` names answers when it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, AttemptReports]] = []
        self.tries: list[str] = []
        self.away: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.undriven: set[str] = set()  # evaluations that no owner drives
        self.go_on = threading.Event()

    def send(self, owner: str, reports: AttemptReports) -> None:
        self.tries.append(owner)
        if owner in self.hangs:
            self.go_on.wait(30)
        if owner in self.away:
            raise self.away[owner]
        if self.undriven & {report.evaluation for report in reports.reports}:
            raise PeerConflictError("does not drive it")
        self.got.append((owner, reports))

    def reports_of(self, owner: str) -> list[AttemptReport]:
        return [report for name, reports in self.got if name == owner for report in reports.reports]


class Setup:
    def __init__(self) -> None:
        self.ledger = Ledger(MemoryStore())
        self.owners = Owners()
        self.taken: list[AttemptReport] = []
        self.load = Load(4, 1, 5, cores=2.0)
        self.outbox = Outbox(ME, self.ledger, self.owners.send, lambda: self.load, self.take)

    def take(self, reports: Sequence[AttemptReport]) -> None:
        self.taken += reports

    def knows(self, *found: Evaluation) -> None:
        self.ledger.merge(Changes(found), publish=False)


@pytest.fixture
def setup() -> Iterator[Setup]:
    found = Setup()
    yield found
    found.owners.go_on.set()
    found.outbox.stop()


def test_a_report_goes_to_the_owner_and_is_taken(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    setup.outbox.put(report())
    until(lambda: setup.taken == [report()])
    ((owner, said),) = setup.owners.got
    assert (owner, said.node, said.reports) == ("a:1", ME, (report(),))


def test_the_load_it_tells_is_without_what_has_ended(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    setup.outbox.put(report())
    until(lambda: setup.owners.got)
    assert setup.owners.got[0][1].load == Load(4, 1, 4, cores=2.0)


def test_an_evaluation_that_the_owner_does_not_drive_keeps_no_other_waiting(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"), evaluation("e2", owner="a:1"))
    setup.owners.undriven = {"e2"}
    setup.owners.hangs = {"a:1"}
    setup.outbox.put(report(module="t0"))
    until(lambda: setup.owners.tries)
    for of in ("e1", "e2"):
        setup.outbox.put(report(of))
    setup.owners.hangs = set()
    setup.owners.go_on.set()
    until(lambda: report("e1") in setup.taken)
    assert report("e2") not in setup.taken
    setup.owners.undriven = set()
    until(lambda: report("e2") in setup.taken)


def test_reports_stay_in_order_and_none_is_lost_while_the_owner_is_away(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    setup.owners.away["a:1"] = PeerRefusedError("nothing listens")
    sent = [report(module=f"t{i}", ended=ended) for i in range(300) for ended in (False, True)]
    for one in sent:
        setup.outbox.put(one)
    until(lambda: len(setup.owners.tries) > 1)
    assert setup.taken == []

    del setup.owners.away["a:1"]

    until(lambda: len(setup.taken) == len(sent))
    assert setup.owners.reports_of("a:1") == sent


@pytest.mark.parametrize("error", [PeerError("slow"), InfrastructureError("full"), RuntimeError("unforeseen")])
def test_whatever_goes_wrong_they_are_kept(setup: Setup, error: Exception) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    setup.owners.away["a:1"] = error
    setup.outbox.put(report())
    until(lambda: len(setup.owners.tries) > 1)
    setup.owners.away.clear()
    until(lambda: setup.taken == [report()])


def test_after_a_takeover_they_go_to_the_new_owner(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    setup.owners.away["a:1"] = PeerRefusedError("dead")
    setup.outbox.put(report())
    until(lambda: "a:1" in setup.owners.tries)

    setup.knows(evaluation("e1", owner="b:1", epoch=1))

    until(lambda: setup.owners.reports_of("b:1") == [report()])


def test_an_owner_that_hangs_holds_up_no_other(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="slow:1"), evaluation("e2", owner="b:1"))
    setup.owners.hangs.add("slow:1")
    setup.outbox.put(report("e1"))
    until(lambda: "slow:1" in setup.owners.tries)

    for number in range(3):
        setup.outbox.put(report("e1", f"t{number}"))
        setup.outbox.put(report("e2", f"t{number}"))
    until(lambda: len(setup.owners.reports_of("b:1")) == 3)
    assert setup.owners.tries.count("slow:1") == 1, "one batch at a time"

    setup.owners.go_on.set()
    until(lambda: len(setup.owners.reports_of("slow:1")) == 4)


@pytest.mark.parametrize("known", [True, False])
def test_what_nobody_waits_for_is_dropped(setup: Setup, known: bool) -> None:
    if known:
        setup.knows(evaluation("e1", owner="a:1", finished_at=1.0, eval_time=1.0))
    setup.outbox.put(report())
    until(lambda: setup.taken == [report()])
    assert setup.owners.tries == []


def test_a_store_that_fails_for_a_moment_loses_nothing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    failed = threading.Event()

    def fail(_: str) -> None:
        failed.set()
        raise InfrastructureError("The node's database failed.")

    with monkeypatch.context() as patch:
        patch.setattr(setup.ledger.store, "evaluation", fail)
        setup.outbox.put(report())
        assert failed.wait(20)
    until(lambda: setup.taken == [report()])


def test_stopping_tries_once_more_and_ends(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"), evaluation("e2", owner="b:1"))
    setup.owners.away["b:1"] = PeerError("away")
    setup.owners.hangs.add("a:1")
    setup.outbox.put(report("e1", "t1"))
    until(lambda: "a:1" in setup.owners.tries)
    setup.outbox.put(report("e1", "t2"))  # behind the one that is under way
    setup.outbox.put(report("e2"))
    stopping = threading.Thread(target=setup.outbox.stop)
    stopping.start()
    stopping.join(0.1)
    assert stopping.is_alive(), "it waits for what is under way"

    setup.owners.go_on.set()
    stopping.join(20)

    assert not stopping.is_alive()
    assert setup.owners.reports_of("a:1") == [report("e1", "t1"), report("e1", "t2")]
    assert setup.taken == setup.owners.reports_of("a:1")


def test_a_copy_of_a_report_is_told_again_rather_than_lost(setup: Setup) -> None:
    setup.knows(evaluation("e1", owner="a:1"))
    twice = replace(report())
    setup.outbox.put(report())
    setup.outbox.put(twice)
    until(lambda: len(setup.taken) == 2)
