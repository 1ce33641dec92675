"""What is counted, once each, and told in both of Prometheus' forms."""

from concurrent.futures import CancelledError
from typing import Any, cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from testmesh.errors import InfrastructureError
from testmesh.model import Counts, EvaluationStatus, ModulePlan, ModuleResult, ModuleState, Verdict
from testmesh.node.messaging.messages import Load
from testmesh.node.observing.endings import Endings
from testmesh.node.observing.metered_bench import MeteredBench
from testmesh.node.observing.metrics import Figures, Metrics
from testmesh.node.storage.ledger import Ledger
from testmesh.node.storage.replica import Changes, ModuleRecord
from testmesh.node.storage.store import MemoryStore
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.environments import CacheEvent
from tests.support.records import evaluation

FIGURES = Figures(
    {"queued": 1, "running": 2}, 200, Load(64, 3, 4, 2.0), {"alive": 2, "dead": 1}, 0.5, None, 9.0, 7, True, 5, 1, 8
)
MODULE = ModulePlan("test_a.py")


def values(metrics: Metrics) -> dict[tuple[str, str], float]:
    text = metrics.render("")[0].decode()
    found = [sample for family in plain(text) for sample in family.samples]
    return {(s.name, next(iter(s.labels.values()), "")): s.value for s in found}


def test_what_is_looked_up_is_looked_up_when_it_is_asked_for() -> None:
    metrics, calls = Metrics(), list[int]()

    def figures() -> Figures:
        calls.append(1)
        return FIGURES

    metrics.watch(figures, {"address": "a:1", "sandbox": "full"})
    assert calls == []
    found = values(metrics)
    assert calls == [1]
    assert found["testmesh_evaluations", "running"] == 2
    assert found["testmesh_nodes", "dead"] == 1
    assert found["testmesh_node_info", "a:1"] == 1
    assert found["testmesh_event_streams", ""] == 8
    assert found["testmesh_cpu_used_ratio", ""] == 0.5
    assert ("testmesh_memory_used_ratio", "") not in found


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", ";;,"])
def test_an_accept_header_that_is_none_gives_the_usual_form(accept: str) -> None:
    assert Metrics().render(accept)[1].startswith("text/plain")


def test_both_forms_can_be_read_and_say_the_same() -> None:
    metrics = Metrics()
    metrics.watch(lambda: FIGURES, {"address": "a:1"})
    text, kind = metrics.render("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    names = {s.name for family in cast(Any, openmetrics)(text.decode()) for s in family.samples}
    assert {name for name, _ in values(metrics) if not name.endswith("_created")} == {
        name for name in names if not name.endswith("_created")
    }


def test_two_nodes_of_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.environment(CacheEvent.HIT)
    assert values(one)["testmesh_environment_cache_total", "hit"] == 1
    assert values(other)["testmesh_environment_cache_total", "hit"] == 0


def test_every_series_is_there_from_the_first_moment() -> None:
    found = values(Metrics())
    assert found["testmesh_modules_total", "infra_failed"] == 0
    assert found["testmesh_evaluations_ended_total", "failed"] == 0
    assert found["testmesh_environment_builds_total", "failed"] == 0


class Bench:
    """Gives or raises what a test says."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def run(self, *_: Any) -> ModuleResult:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return cast(ModuleResult, self.outcome)

    def environment_failed(self, *_: Any) -> ModuleResult:
        return ModuleResult(Verdict.ENV_FAILED, Counts(failed=1))


def run(metrics: Metrics, outcome: Any, cancellation: Cancellation | None = None) -> Any:
    bench = MeteredBench(cast(Any, Bench(outcome)), metrics)
    return bench.run(None, MODULE, cancellation or Cancellation(), lambda: None)


def test_a_module_counts_once_with_its_time() -> None:
    metrics = Metrics()
    result = ModuleResult(Verdict.TIMEOUT, time=3.0, cpu_time=0.5, began_at=1.0)
    assert run(metrics, result) is result
    found = values(metrics)
    assert found["testmesh_modules_total", "timeout"] == 1
    assert found["testmesh_module_duration_seconds_sum", ""] == 3.0
    assert found["testmesh_module_duration_seconds_bucket", "2.5"] == 0
    assert found["testmesh_module_duration_seconds_bucket", "5.0"] == 1
    assert found["testmesh_module_cpu_seconds_total", ""] == 0.5


def test_one_without_an_environment_counts_without_a_time() -> None:
    metrics = Metrics()
    MeteredBench(cast(Any, Bench(None)), metrics).environment_failed(MODULE, "no such version")
    found = values(metrics)
    assert found["testmesh_modules_total", "env_failed"] == 1
    assert found["testmesh_module_duration_seconds_count", ""] == 0


def test_a_failure_of_the_node_counts_and_a_cancelled_run_does_not() -> None:
    metrics, cancelled = Metrics(), Cancellation()
    with pytest.raises(InfrastructureError):
        run(metrics, InfrastructureError("The disk is full."))
    with pytest.raises(CancelledError):
        run(metrics, CancelledError())
    cancelled.cancel()
    run(metrics, ModuleResult(Verdict.CRASHED), cancelled)
    counted = {label: n for (name, label), n in values(metrics).items() if name == "testmesh_modules_total" and n}
    assert counted == {"infra_failed": 1}


def test_an_evaluation_counts_once_at_the_node_that_drove_it_to_its_end() -> None:
    ended: list[EvaluationStatus] = []
    ledger = Ledger(MemoryStore())
    Endings("a:1", ledger, ended.append)
    mine, theirs = (evaluation(name, owner=owner) for name, owner in (("e1", "a:1"), ("e2", "b:1")))
    ledger.merge(Changes((mine,)), publish=True)
    ledger.merge(Changes((theirs,)), publish=False)
    plan = mine.projects[0].modules[0]
    state = ModuleState("e1", mine.projects[0].name, plan.path, Verdict.PASSED, 0, 1, "b:1", Counts(passed=1))
    ledger.merge(Changes(modules=(ModuleRecord(state),)), publish=True)
    assert ended == []
    for more in ({"finished_at": 2.0}, {"finished_at": 2.0, "holders": ("a:1", "b:1", "c:1")}):
        for each, publish in ((mine, True), (theirs, False)):
            ledger.merge(Changes((_with(each, more),)), publish=publish)
    assert ended == [EvaluationStatus.DONE]


def test_what_had_ended_before_the_start_is_not_counted() -> None:
    ended: list[EvaluationStatus] = []
    ledger = Ledger(MemoryStore())
    over, still_open = _with(evaluation("e1", owner="a:1"), {"finished_at": 2.0}), evaluation("e2", owner="a:1")
    ledger.merge(Changes((over, still_open)), publish=True)
    Endings("a:1", ledger, ended.append)
    ledger.merge(Changes((_with(over, {"holders": ("z:1",)}),)), publish=True)
    assert ended == []
    ledger.merge(Changes((_with(still_open, {"finished_at": 3.0, "cancelled": True}),)), publish=True)
    assert ended == [EvaluationStatus.CANCELLED]


def _with(record: Any, fields: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(record, **fields)
