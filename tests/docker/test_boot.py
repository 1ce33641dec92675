"""boot.sh and local_node.py with a real engine, from a fresh copy of the repository."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testmesh.local.engine import Engine
from tests.support.docker import Stack, projects, random_subnet, stack, unique_name
from tests.support.mesh import wait_for, zip_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SLOW = """
import time

def test_slow():
    time.sleep(2)
"""


@pytest.fixture
def clone(found: Engine, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path / unique_name("clone"), found) as made:
        yield made


def test_boot_grades_the_examples_leaves_no_container_and_begins_afresh(clone: Stack) -> None:
    clone.variables["HOST_REAL_IP"] = f"{clone.subnet}.1"
    booted = clone.run("./boot.sh", "--docker", "--demo")
    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert "Every grade is as examples/expected.json has it" in booted.stdout
    first = f"{clone.subnet}.1:{clone.ports[0]}"
    assert f"src/local_node.py 5005 {first.replace(':', ' ')}" in booted.stdout
    assert first in clone.get("/network")
    health = clone.get("/health")
    assert health["loopback"] == "private"
    assert bool(health["cause"]) != clone.found.fresh_proc  # docker-compose 1.29 cannot give it a /proc of its own
    secret = (clone.folder / ".run" / "secret").read_text()
    assert secret == clone.compose("exec", "-T", "cnode1", "cat", "/secret/mesh")
    assert secret.strip() not in booted.stdout + booted.stderr
    assert clone.run("./boot.sh", "--down").returncode == 0
    assert clone.containers() == []
    volumes = clone.docker("volume", "ls", "-q", "--filter", f"name={clone.folder.name}_").split()
    assert len(volumes) == 5  # what they held stays

    booted = clone.run("./boot.sh", "--docker", "--fresh")
    assert booted.returncode == 0, booted.stdout + booted.stderr
    assert clone.get("/evaluation") == {"evaluations": []}
    assert clone.compose("exec", "-T", "cnode2", "cat", "/secret/mesh") == secret


@pytest.fixture
def two_networks(clone: Stack) -> Iterator[tuple[str, str]]:
    """Each stands for a host of its own, with the gateway's address as the host's."""
    made = [unique_name("host"), unique_name("host")]
    addresses = [random_subnet(), random_subnet()]
    try:
        for name, address in zip(made, addresses, strict=True):
            clone.docker("network", "create", "--subnet", f"{address}.0/24", "--gateway", f"{address}.1", name)
        yield made[0], made[1]
    finally:
        for port in clone.ports[:2]:
            clone.run(clone.found.docker, "rm", "--force", f"testmesh-node-{port}")
            clone.run(clone.found.docker, "volume", "rm", f"testmesh-node-{port}", f"testmesh-node-{port}-secret")
        for name in made:
            clone.run(clone.found.docker, "network", "rm", name)


def local_node(clone: Stack, network: str, port: int, *join: str) -> str:
    """Run local_node.py on the host that `network` stands for; what it printed."""
    gateway = clone.docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network).strip()
    clone.variables |= {"HOST_REAL_IP": gateway, "NODE_NETWORK": network}
    started = clone.run(sys.executable, "src/local_node.py", str(port), *join)
    assert started.returncode == 0, started.stdout + started.stderr
    return started.stdout


def test_a_node_of_a_second_host_joins_works_and_goes_away(clone: Stack, two_networks: tuple[str, str]) -> None:
    first_port, second_port = clone.ports[:2]
    printed = local_node(clone, two_networks[0], first_port)
    address = clone.variables["HOST_REAL_IP"]
    first = f"{address}:{first_port}"
    assert f"src/local_node.py {first_port + 1} {address} {first_port}" in printed

    local_node(clone, two_networks[1], second_port, address, str(first_port))
    second = f"{clone.variables['HOST_REAL_IP']}:{second_port}"
    for port in (first_port, second_port):
        assert wait_for(lambda port=port: (found := clone.get("/network", port)) and len(found) == 2 and found) == {  # type: ignore[misc]
            first: [second],
            second: [first],
        }
    health = clone.get("/health", second_port)
    assert (health["loopback"], health["cause"]) == ("private", "")  # with a /proc of its own
    assert not reaches_directly(clone, second_port, two_networks[0], first_port)

    evaluation_id = clone.submit(zip_of(projects(16, SLOW)), first_port)
    wait_for(
        lambda: {second, first} <= nodes_of(clone, first_port, evaluation_id),
        what="both hosts to have run something",
    )
    clone.docker("kill", f"testmesh-node-{second_port}")
    done = clone.wait_done(evaluation_id, first_port)
    assert (done["_run_info"]["passed"], done["_run_info"]["nota"]) == (16, 20.0)
    wait_for(lambda: clone.get("/network", first_port) == {first: []}, what="the second host to be missed")


def nodes_of(clone: Stack, port: int, evaluation_id: str) -> set[str]:
    results = clone.get(f"/evaluation/{evaluation_id}", port)["module_results"]
    return {
        result["node"] for modules in results.values() for result in modules.values() if result["verdict"] == "passed"
    }


def reaches_directly(clone: Stack, port: int, network: str, other_port: int) -> bool:
    """Whether the container of `port` reaches the other container's own address, past published ports."""
    name = f"testmesh-node-{other_port}"
    form = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    own_address = clone.docker("inspect", "--format", form, name).strip()
    tries = f"import socket; socket.create_connection(('{own_address}', {other_port}), 2)"
    with contextlib.suppress(AssertionError):
        clone.docker("exec", f"testmesh-node-{port}", "/opt/testmesh/bin/python", "-c", tries)
        return True
    return False
