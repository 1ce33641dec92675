"""Builds a node from its settings: the one place where the real implementations are chosen."""

import logging
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil

from testmesh.app.auth import internal_blueprint
from testmesh.app.factory import create_app
from testmesh.app.peer_routes import register_peer_routes
from testmesh.app.server import Lifecycle
from testmesh.app.worker import WsgiApp
from testmesh.clock import Clock, SystemClock
from testmesh.errors import SettingsError
from testmesh.load_balance.least_loaded import LeastLoaded
from testmesh.load_balance.policy import Policy
from testmesh.load_balance.round_robin import RoundRobin
from testmesh.node.callbacks.callbacks import Courier
from testmesh.node.callbacks.http_courier import HttpCourier, KeylessCourier, trusted_certificates
from testmesh.node.copying.archives import ArchiveStore
from testmesh.node.messaging.http_peers import HttpPeers
from testmesh.node.node import Node, Parts
from testmesh.node.observing.metrics import Metrics
from testmesh.node.storage.data_folder import hold
from testmesh.node.storage.sqlite_store import SqliteStore
from testmesh.node.working.admission import automatic_slots
from testmesh.node.working.bench import MeshBench
from testmesh.node.working.pressure import open_sensor
from testmesh.sealing import node_key
from testmesh.settings import Settings
from testmesh.signing import RequestVerifier
from testmesh.testing.archive import ArchiveLimits
from testmesh.testing.box_request import BoxLimits
from testmesh.testing.boxed_command import BoxedCommandRunner
from testmesh.testing.boxes import open_boxes
from testmesh.testing.environment_eviction import shares
from testmesh.testing.environments import EnvironmentCache
from testmesh.testing.github import RepositoryFetcher
from testmesh.testing.installers import find_installer, find_uv
from testmesh.testing.interpreters import machine_interpreters
from testmesh.testing.isolation import IsolationLevel
from testmesh.testing.package_cache import PackageCache
from testmesh.testing.run_command import CommandDispatcher, CommandRunner
from testmesh.testing.runner import ModuleRunner
from testmesh.testing.start_gate import HostGates, gate_name
from testmesh.testing.warm_parents import WarmParents
from testmesh.testing.workshop import PreparedProject, Workshop

log = logging.getLogger(__name__)


def build_node(settings: Settings, environ: Mapping[str, str]) -> tuple[Lifecycle, WsgiApp]:
    """The node and its WSGI application, not started. To be called in the process that serves.

    Raises:
        TestmeshError: what keeps it from starting, in one sentence.
    """
    data = settings.data_dir
    lock = hold(data)
    box_limits = BoxLimits(settings.module_memory, settings.module_processes, settings.module_disk)
    boxes = open_boxes(data / "work", settings.sandbox, box_limits, node_pid=os.getppid())
    isolation = boxes.level
    check_sandbox(settings, isolation)
    incoming = data / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for left in incoming.iterdir():
        left.unlink()
    clock = SystemClock()
    commands = CommandRunner()
    boxed = BoxedCommandRunner(boxes)
    run = CommandDispatcher(commands, boxed if isolation.sandbox != "none" else None)
    for_environments, for_packages = shares(settings.environments_size)
    packages = PackageCache(data / "packages", for_packages, clock)
    metrics = Metrics()
    compiling = ThreadPoolExecutor(1, thread_name_prefix="compile")
    environments = EnvironmentCache(
        data / "environments",
        find_installer(packages.folder, environ, run),
        run,
        clock,
        machine_interpreters(environ.get("PATH", ""), find_uv()),
        limit=for_environments,
        packages=packages,
        later=compiling.submit,
        told=metrics.environment,
    )
    environments.sweep()
    runner = ModuleRunner(data / "work", boxes)
    warm = WarmParents(environments, data / "work" / "empty")
    workshop = Workshop(data / "code", environments, runner, warm, allow_vcs=settings.allow_vcs)
    limits = ArchiveLimits(settings.max_upload, settings.max_unpacked, settings.max_entries)
    sensor = open_sensor()
    secret = settings.secret or node_key(data)
    parts = Parts(
        settings=settings,
        store=SqliteStore(data / "mesh.db"),
        archives=ArchiveStore(data / "archives"),
        peers=HttpPeers(secret),
        policy=make_policy(settings.strategy),
        fetcher=RepositoryFetcher(settings.github_api, limits, clock),
        clock=clock,
        seal_key=secret,
        courier=_courier(settings, clock, environ),
        slots=settings.slots or automatic_slots(sensor.cores, sensor.memory),
        sensor=sensor,
        gates=HostGates(ceil(sensor.cores), name=gate_name(sensor.scope)),
        metrics=metrics,
        isolation={"sandbox": isolation.sandbox, "loopback": isolation.loopback, "cause": isolation.cause},
        closers=(lambda: compiling.shutdown(wait=False, cancel_futures=True), commands.close, boxed.close),
        last_closers=(warm.close, boxes.close),
        data_lock=lock,
    )
    node: Node[PreparedProject] = Node(parts, lambda ensure_archive: MeshBench(workshop, ensure_archive))
    verifier = RequestVerifier(secret, settings.advertise) if settings.secret else None
    internal = internal_blueprint(verifier)
    register_peer_routes(internal, node.peer_side, lambda: os.kill(os.getppid(), signal.SIGTERM))  # the arbiter
    log.info("loopback %s, sandbox %s%s", isolation.loopback, isolation.sandbox, _because(isolation.cause))
    if not settings.secret:
        log.warning("MESH_SECRET is not set: this node stands alone and takes no peer")
    return node, create_app(node.public, settings, internal=internal, clock=clock)


def check_sandbox(settings: Settings, isolation: IsolationLevel) -> None:
    """Raises SettingsError where MESH_SANDBOX asks for a level that cannot be had."""
    if settings.sandbox not in ("auto", isolation.sandbox):
        raise SettingsError(
            f"MESH_SANDBOX={settings.sandbox} cannot be had here{_because(isolation.cause)}; the best there is, is "
            f"{isolation.sandbox!r}: set that, or auto"
        )


def _courier(settings: Settings, clock: Clock, environ: Mapping[str, str]) -> Courier:
    """Raises SettingsError where the authorities that it is to trust cannot be read."""
    if settings.callback_secret is None:
        return KeylessCourier()
    trusted = trusted_certificates(environ.get("REQUESTS_CA_BUNDLE"))
    return HttpCourier(settings.callback_secret, clock, trusted, private=settings.callback_private)


def make_policy(name: str) -> Policy:
    return RoundRobin() if name == "round_robin" else LeastLoaded()


def _because(cause: str) -> str:
    return f" ({cause})" if cause else ""
