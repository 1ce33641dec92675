"""What the checks rest on: that the switch does what its rules say, and that a breach of an invariant is seen."""

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.faults import invariants
from tests.faults.catalogue import all_scenarios
from tests.faults.corpus import CRASHING, FAILING, PASSING, work
from tests.faults.disturbances import Disturbances
from tests.faults.invariants import differences, results_stood, stores_become_equal
from tests.faults.model import Record, scenario
from tests.faults.report import BEGIN, END, section
from tests.faults.run import reason_to_skip
from tests.faults.scenarios.process import stop_short
from tests.faults.switch import Rule, Switch
from tests.faults.watcher import Watcher, results_of

TO_SECOND = bytes([0x02, 0, 0, 0, 0, 2]) + bytes(94)  # to the MAC of port 1
TO_ALL = bytes([0xFF] * 6) + bytes(94)


def switch(rule: Rule | None = None) -> Switch:
    return Switch(3, random.Random(1), {(0, 1): rule} if rule else {})


# The switch ---------------------------------------------------------------------------------


def test_a_frame_comes_out_where_its_address_says_and_one_to_all_everywhere_else() -> None:
    assert switch().arrivals(0, TO_SECOND, 5.0) == [(5.0, 1)]
    assert switch().arrivals(2, TO_ALL, 5.0) == [(5.0, 0), (5.0, 1)]


def test_a_cut_is_of_one_direction() -> None:
    cut = switch(Rule(cut=True))
    assert cut.arrivals(0, TO_SECOND, 5.0) == []
    assert cut.arrivals(0, TO_ALL, 5.0) == [(5.0, 2)]
    assert cut.arrivals(2, TO_SECOND, 5.0) == [(5.0, 1)]
    assert cut.counts == {"sent": 2, "lost": 2, "duplicated": 0}


def test_so_many_are_lost_and_doubled_as_the_rule_says() -> None:
    lossy = switch(Rule(loss=0.3, duplicate=0.5))
    arrived = [len(lossy.arrivals(0, TO_SECOND, 0.0)) for _ in range(2000)]
    assert 500 < arrived.count(0) < 700
    assert 600 < arrived.count(2) < 800


def test_delays_make_frames_overtake_each_other() -> None:
    late = switch(Rule(delay=(0.01, 0.5)))
    times = [late.arrivals(0, TO_SECOND, 0.0)[0][0] for _ in range(50)]
    assert min(times) >= 0.01
    assert max(times) <= 0.5
    assert times != sorted(times)


def test_a_slow_cable_lets_through_its_rate_and_drops_what_does_not_fit() -> None:
    slow = switch(Rule(rate=1000.0))
    found = [slow.arrivals(0, TO_SECOND, 0.0) for _ in range(20)]
    assert [times[0][0] for times in found if times] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert slow.arrivals(0, TO_SECOND, 10.0)[0][0] == pytest.approx(10.1)


# The invariants -----------------------------------------------------------------------------


def shown(*verdicts: tuple[str, int, int], nota: float) -> dict[str, Any]:
    modules = {
        f"test_{number:02}.py": {
            "verdict": verdict, "passed": passed, "failed": failed, "errors": 0, "skipped": 0,
            "node": "a:1", "attempts": 1, "time": 0.1, "detail": "",
        }
        for number, (verdict, passed, failed) in enumerate(verdicts)
    }  # fmt: skip
    results = {"p00": modules}
    return {"id": "x", "finished_at": "now", "module_results": results, "_run_info": {"nota": nota}}


def test_the_numbers_of_a_run_without_faults_are_known() -> None:
    wanted = work(PASSING, CRASHING)
    assert differences(shown(("passed", 2, 0), ("crashed", 1, 2), nota=12.0), wanted) == []
    assert work(PASSING, FAILING, projects=2).nota == 12.0


@pytest.mark.parametrize(
    "document",
    [
        shown(("passed", 2, 0), ("infra_failed", 1, 2), nota=12.0),
        shown(("passed", 1, 0), ("crashed", 1, 2), nota=12.0),
        shown(("passed", 2, 0), nota=12.0),
        shown(("passed", 2, 0), ("crashed", 1, 2), ("passed", 1, 0), nota=12.0),
        shown(("passed", 2, 0), ("crashed", 1, 2), nota=13.0),
    ],
    ids=["verdict", "count", "missing", "invented", "grade"],
)
def test_another_number_is_seen(document: dict[str, Any]) -> None:
    assert differences(document, work(PASSING, CRASHING))


def test_a_result_that_is_not_final_is_none() -> None:
    assert next(iter(results_of(shown(("running", 0, 0), nota=0.0)).values())) is None


@pytest.mark.parametrize(
    ("verdicts", "allows", "is_breach"),
    [
        (["passed", "passed"], (), False),
        (["running", "passed"], (), False),
        (["passed", "failed"], (), True),
        (["passed", "failed"], ("replaced",), False),
        (["passed", "failed", "passed"], ("replaced",), True),
        (["passed", "running"], ("replaced",), True),
    ],
)
def test_a_final_result_may_be_replaced_once_and_only_after_a_partition(
    verdicts: list[str], allows: tuple[Any, ...], is_breach: bool
) -> None:
    watcher, broken = Watcher([], lambda: []), []
    for verdict in verdicts:
        watcher.take(0, shown((verdict, 1, 0), nota=0.0))
    cluster = SimpleNamespace(watcher=watcher, break_=lambda letter, _: broken.append(letter))
    one = scenario("x", "process", "", allows=allows)(lambda _: None)
    results_stood(cast(Any, cluster), one)
    assert broken == (["B"] if is_breach else [])


def test_a_death_is_excused_by_what_was_done_to_the_node_or_the_cable() -> None:
    done = Disturbances()
    done.begin(2, now=10.0, is_process=True)
    done.begin(0, 1, now=10.0)
    assert done.is_excused(0, 2, 10.1)
    assert not done.is_excused(0, 2, 9.9)
    assert not done.is_excused(0, 1, 11.9)  # a silence of 2 s is no death
    assert done.is_excused(1, 0, 12.1)
    done.begin(3, now=20.0)
    done.end(3, now=21.9)
    assert not done.is_excused(0, 3, 23.0)
    done.end(2, now=20.0)
    assert not done.is_excused(0, 2, 30.0)


def test_what_needs_nginx_is_skipped_by_name_without_it() -> None:
    told = {one.name: reason_to_skip(one, {"nginx": "no Nginx"}) for one in all_scenarios()}
    assert {name for name, reason in told.items() if reason} == {n for n in told if n.startswith("entrance-")}
    assert told["entrance-kill"] == "no Nginx"


def test_a_death_after_2_s_of_stillness_is_a_breach_of_stop_2s() -> None:
    broken: list[str] = []
    nothing: Any = lambda *_, **__: None  # noqa: E731
    names = ("submit", "wait_running", "stop", "hold", "go_on", "wait_ended")
    death = SimpleNamespace(address="b:1", at=0.0)
    nodes = [SimpleNamespace(number=n, address=f"{'ab'[n]}:1", deaths=lambda n=n: [death][n:]) for n in (0, 1)]
    cluster = SimpleNamespace(
        **dict.fromkeys(names, nothing), nodes=nodes, break_=lambda letter, text: broken.append(f"{letter}: {text}")
    )
    stop_short.run(cast(Any, cluster))
    assert broken == ["E: node 0 declared node 1 dead"]


@pytest.mark.parametrize(
    ("equal_from", "equal_after"),
    [(0.0, 0.905), (4.0, 4.925), (10.01, None), (99.0, None)],
    ids=["at-once", "in-time", "seen-too-late", "never"],
)
def test_stores_count_as_equal_only_where_that_was_looked_for_in_time(
    equal_from: float, equal_after: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    broken: list[str] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def look(_: object) -> str:
        begun, now[0] = now[0], now[0] + 0.905  # so one look ends at 9.95, and the next would begin at 10.05
        return "" if begun >= 100.0 + equal_from else "they differ"

    monkeypatch.setattr(invariants, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(invariants, "_difference", look)
    monkeypatch.setattr(invariants, "processors_are_short", lambda: False)
    cluster = SimpleNamespace(
        healed_at=100.0,
        watcher=SimpleNamespace(ended_at={"e": 90.0}),
        break_=lambda letter, _: broken.append(letter),
    )
    found = stores_become_equal(cast(Any, cluster))
    assert broken == ([] if equal_after else ["F"])
    assert found == (equal_after and pytest.approx(equal_after))


def test_every_scenario_says_what_happens() -> None:
    found = all_scenarios()
    assert found
    assert all(one.says and "|" not in one.says for one in found)


def test_rows_of_what_was_run_replace_theirs_and_the_others_stay() -> None:
    page = f"before\n{BEGIN}\n{END}\nafter\n"
    one, other = (
        Record("one", "disk", "a disk is full"),
        Record("other", "disk", "it is | damaged", broken=("A: lost",)),
    )
    page = section(page, [one, other], ["other", "one"], 1)
    page = section(page, [Record("one", "disk", "a disk is full", repeated=7)], ["other", "one"], 2)
    rows = [line for line in page.splitlines() if "`" in line]
    assert [row.split("`")[1] for row in rows] == ["other", "one"]
    assert "**broken**: A: lost" in rows[0]
    assert rows[1].endswith("| 7 | 2 |")
    assert (page.startswith("before\n"), page.endswith("after\n")) == (True, True)
