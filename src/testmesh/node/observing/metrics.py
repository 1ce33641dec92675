"""This node's metrics for Prometheus, in a registry of their own. No label holds what a submission names."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from testmesh import __version__
from testmesh.model import EvaluationStatus, ModuleResult, Verdict
from testmesh.node.messaging.messages import Load
from testmesh.testing.environments import CacheEvent

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True)
class Figures:
    """What is looked up when the metrics are asked for. `evaluations`: those that have not ended, by status.

    `nodes`: by state, those that are gone too. `lacking`, `out_of_reach`: evaluations with too few copies of their
    files on live nodes, and with none. `streams`: readers of live events.
    """

    evaluations: Mapping[str, int]
    queue_limit: int
    load: Load
    nodes: Mapping[str, int]
    cpu: float | None
    memory: float | None
    uptime: float
    disk_free: int
    accepts: bool
    lacking: int
    out_of_reach: int
    streams: int


class Metrics:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._ended = self._counter("evaluations_ended", "Evaluations that this node drove to their end.", "status")
        self._modules = self._counter("modules", "Modules that ended on this node.", "verdict")
        self._seconds = self._histogram("module_duration_seconds", "Wall time of modules that ran on this node.")
        self._cpu = self._counter("module_cpu_seconds", "Processor time of modules that ran on this node.")
        self._looks = self._counter("environment_cache", "Looks for an environment, by whether it was there.", "result")
        self._builds = self._counter("environment_builds", "Environments that were to be built.", "outcome")
        for status in EvaluationStatus:
            if status.is_final:
                self._ended.labels(status.value)
        for verdict in Verdict:
            if verdict.is_final and verdict is not Verdict.SOURCE_FAILED:  # which no module gets that runs
                self._modules.labels(verdict.value)
        for event in CacheEvent:
            self._of(event)
        ProcessCollector(registry=self._registry)

    def watch(self, figures: Callable[[], Figures], info: Mapping[str, str]) -> None:
        """`figures` is called when the metrics are asked for; `info` are labels of this node."""
        self._registry.register(_Gauges(figures, info))

    def evaluation_ended(self, status: EvaluationStatus) -> None:
        self._ended.labels(status.value).inc()

    def module_ended(self, result: ModuleResult) -> None:
        self._modules.labels(result.verdict.value).inc()
        if result.began_at or result.time:
            self._seconds.observe(result.time)
            self._cpu.inc(result.cpu_time)

    def module_failed(self) -> None:
        """The node could not run it."""
        self._modules.labels(Verdict.INFRA_FAILED.value).inc()

    def environment(self, event: CacheEvent) -> None:
        self._of(event).inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """In the form that suits an Accept header best, and its media type."""
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):  # of a version that is none
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type

    def _of(self, event: CacheEvent) -> Counter:
        looked = event in (CacheEvent.HIT, CacheEvent.MISS)
        return (self._looks if looked else self._builds).labels(event.value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"testmesh_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"testmesh_{name}", text, buckets=_SECONDS, registry=self._registry)


class _Gauges(Collector):
    def __init__(self, figures: Callable[[], Figures], info: Mapping[str, str]) -> None:
        self._figures = figures
        self._info = info

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering looks nothing up."""
        return ()

    def collect(self) -> Iterator[Metric]:
        now = self._figures()
        build = {"version": __version__, "python": platform.python_version()}
        yield _labelled("build_info", "What runs.", build, 1)
        yield _labelled("node_info", "The node, and how what it runs is isolated.", self._info, 1)
        yield _by("evaluations", "Evaluations of the mesh that have not ended.", "status", now.evaluations)
        yield _gauge("evaluations_limit", "Unfinished evaluations from which on new ones are refused.", now.queue_limit)
        yield _by("nodes", "Nodes that this one knows of, itself too.", "state", now.nodes)
        yield _gauge("slots", "Modules that may run here at once; none while it takes no work.", now.load.slots)
        yield _gauge("modules_running", "Modules that run here.", now.load.running)
        yield _gauge("modules_waiting", "Modules that were given to this node and have not begun.", now.load.waiting)
        yield _gauge("cores", "Processors that this node may use.", now.load.cores)
        yield _gauge("cpu_used_ratio", "Used part of them over the last seconds.", now.cpu)
        yield _gauge("memory_used_ratio", "Used part of the memory that this node may use.", now.memory)
        yield _gauge("disk_free_bytes", "Free bytes on the disk of the data folder.", now.disk_free)
        yield _gauge(
            "accepts_work", "Whether this node takes submissions (1), or drains or has a full disk (0).", now.accepts
        )
        yield _gauge("copies_missing", "Evaluations whose files are on too few live nodes.", now.lacking)
        yield _gauge("files_out_of_reach", "Evaluations whose files are on no live node.", now.out_of_reach)
        yield _gauge("event_streams", "Readers of live events at this node.", now.streams)
        yield _gauge("uptime_seconds", "Since this node was made.", now.uptime)


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"testmesh_{name}", text)
    if value is not None:  # what is not known is not told
        family.add_metric([], float(value))
    return family


def _by(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"testmesh_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _labelled(name: str, text: str, labels: Mapping[str, Any], value: int) -> Metric:
    family = GaugeMetricFamily(f"testmesh_{name}", text, labels=list(labels))
    family.add_metric([str(label) for label in labels.values()], value)
    return family
