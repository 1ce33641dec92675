"""Metrics, alert rules and the page that explains them name the same things."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from testmesh.node.feed import MAX_READERS
from testmesh.node.messaging.messages import Load
from testmesh.node.observing.metrics import Figures, Metrics
from tests.unit.test_docs import read, rows

DOCS = Path(__file__).parents[2] / "docs"
STATES = dict.fromkeys(("alive", "suspect", "dead", "left"), 1)
_NAME = re.compile(r"\b(?:testmesh|process)_[a-z_]+\b|\bup\b")
_MATCHER = re.compile(r'\b([a-z_]+)\{([a-z_]+)="([^"]*)"')
_OF_SCRAPES = Sample("up", {"job": "testmesh", "instance": "a:1"}, 1.0)


def samples() -> list[Sample]:
    metrics = Metrics()
    evaluations = {"queued": 0, "running": 0}
    figures = Figures(evaluations, 200, Load(1, 0, 0), STATES, 0.0, 0.0, 0.0, 0, True, 0, 0, 0)
    metrics.watch(lambda: figures, {"address": "a:1", "sandbox": "none", "loopback": "shared"})
    families = text_string_to_metric_families(metrics.render("")[0].decode())
    return [_OF_SCRAPES, *(sample for family in families for sample in family.samples)]


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_every_metric_and_label_of_an_alert_exists(rule: dict[str, Any]) -> None:
    there = samples()
    named = set(_NAME.findall(rule["expr"]))
    assert named
    assert named <= {sample.name for sample in there}
    for name, label, value in _MATCHER.findall(rule["expr"]):
        found = (
            {"testmesh"} if label == "job" else {sample.labels.get(label) for sample in there if sample.name == name}
        )
        assert value in found, f"{name} has no {label} {value!r}"
    for label in re.findall(r"\$labels\.([a-z]+)", rule["annotations"]["summary"]):
        assert label == "instance"
        assert not re.search(r"by \(job\)", rule["expr"]), "instance is not among what the expression leaves"


def test_the_page_explains_every_alarm_and_no_other() -> None:
    told = [cells[0].strip("`") for cells in rows(read("docs/operations.md")) if cells[0].startswith("`Testmesh")]
    assert sorted(told) == sorted(rule["alert"] for rule in rules())


def test_the_page_explains_every_metric_and_no_other() -> None:
    told: list[str] = []
    for cells in rows(read("docs/operations.md")):
        if re.match(r"`(testmesh|process)_", cells[0]):
            told += cells[0].replace("`", "").split(", ")
    there = {re.sub(r"_(bucket|count|sum)$", "", sample.name) for sample in samples()}
    assert sorted(told) == sorted(name for name in there if name != "up" and not name.endswith("_created"))


def test_the_rules_go_by_the_name_that_the_configuration_gives_and_it_finds_them() -> None:
    config = yaml.safe_load((DOCS / "prometheus.yml").read_text(encoding="utf-8"))
    assert [scrape["job_name"] for scrape in config["scrape_configs"]] == ["testmesh"]
    assert all((DOCS / name).is_file() for name in config["rule_files"])
    jobs = set(re.findall(r'job="([^"]*)"', (DOCS / "alerts.yml").read_text(encoding="utf-8")))
    assert jobs == {"testmesh"}


def test_the_alarm_of_many_readers_comes_before_there_are_too_many() -> None:
    rule = next(rule for rule in rules() if rule["alert"] == "TestmeshStreamsNearlyFull")
    limit = int(rule["expr"].rpartition(" ")[2])
    assert 0.8 * MAX_READERS < limit < MAX_READERS
    assert f"takes {MAX_READERS}" in rule["annotations"]["summary"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_itself_takes_configuration_and_rules() -> None:
    for check in (["config", "prometheus.yml"], ["rules", "alerts.yml"]):
        done = subprocess.run(["promtool", "check", *check], cwd=DOCS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
