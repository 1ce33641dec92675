"""Starts the nodes of a scenario, with all that is theirs, and ends them."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.cluster_node import ClusterNode
from tests.faults.network import address_of, network
from tests.faults.small_disk import small_disk
from tests.faults.wall_clock import WallClock, build_library
from tests.support.mesh import SECRET
from tests.support.ports import reserved_ports

_PORT = 5001


@contextlib.contextmanager
def cluster(
    folder: Path,
    count: int,
    built: Path,
    *,
    seed: int = 0,
    wired: bool = True,
    clocks: bool = False,
    disks: Mapping[int, int] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """`count` joined nodes. Everything of theirs is gone when the context ends.

    wired   in networks of their own; else on ports of this machine
    built   what tests.support.mesh.build_environment made
    """
    with contextlib.ExitStack() as stack:
        wires = stack.enter_context(network(count, seed)) if wired else None
        if wired:
            addresses = [(address_of(number), _PORT) for number in range(count)]
        else:
            addresses = [("127.0.0.1", port) for port in stack.enter_context(reserved_ports(count))]
        library = build_library(folder) if clocks else None
        nodes = []
        for number, address in enumerate(addresses):
            place = folder / f"n{number}"
            place.mkdir()
            clock = WallClock(library, place / "clock") if library else None
            namespace = wires.namespaces[number] if wires else None
            host = "0.0.0.0" if wires else address[0]
            environ = _environ(addresses, number, host, settings or {}) | (clock.environ if clock else {})
            node = ClusterNode(number, place, environ, built, address, namespace, clock)
            # Each is a machine to itself, and those share no locks: not the one that lets few modules start at once.
            temporary = place / "tmp"
            temporary.mkdir()
            temporary.chmod(0o1777)
            environ |= {"MESH_DATA_DIR": str(node.data), "TMPDIR": str(temporary)}
            if disks and number in disks:
                stack.enter_context(small_disk(node.data, disks[number]))
            node.link_environments()
            nodes.append(node)
        found = Cluster(nodes, wires, seed)
        stack.callback(_end_all, nodes)
        for node in nodes:
            node.start()
        found.wait_joined()
        stack.enter_context(found.watcher)
        yield found


def _environ(addresses: list[tuple[str, int]], number: int, host: str, settings: Mapping[str, str]) -> dict[str, str]:
    named = [f"{name}:{port}" for name, port in addresses]
    bootstrap = [address for address in named[:2] if address != named[number]]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    return environ | {
        "MESH_HOST": host,
        "MESH_PORT": str(addresses[number][1]),
        "MESH_ADVERTISE": named[number],
        "MESH_BOOTSTRAP": ",".join(bootstrap),
        "MESH_SECRET": SECRET,
        **settings,
    }


def _end_all(nodes: list[ClusterNode]) -> None:
    for node in nodes:
        if node.is_running:
            node.kill()
