"""The compose stack in a real engine."""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.docker import REPOSITORY, Stack, projects
from tests.support.mesh import wait_for, zip_of
from tests.support.ports import free_ports

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

NODES = ("cnode1", "cnode2", "cnode3", "cnode4")

# Binds the port that the node itself listens on, and one that all these modules share.
SERVES = """
import socket, time

def test_ports_of_its_own():
    with socket.create_server(("127.0.0.1", 5000)), socket.create_server(("0.0.0.0", 5001)):
        time.sleep(1.5)

def test_fails():
    assert 1 == 2
"""

SLOW = """
import time

def test_slow():
    time.sleep(4)
"""

# Process 1 starts the node as its child and ends with it.
KILL_THE_NODE = """
import os, pathlib
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    parent = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    if parent == "1" and b"run_node.py" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
        os.kill(pid, 9)
"""

# What code under test finds of the node it runs on.
LOOKS = """
import os, pytest

def test_environment_of_the_node_is_closed():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        assert b"MESH_SECRET" not in environ, pid

def test_is_not_root():
    assert os.getuid() != 0
    with pytest.raises(OSError):
        open("/app/src/run_node.py", "a")
"""


def test_a_plain_up_gives_a_whole_mesh_with_one_secret(whole: Stack) -> None:
    names = {f"{name}:{5000 + number}" for number, name in enumerate(NODES, 1)}
    network = whole.get("/network")
    assert {node: set(peers) for node, peers in network.items()} == {node: names - {node} for node in names}
    shown = {whole.compose("exec", "-T", node, "stat", "-c", "%a %U %s", "/secret/mesh") for node in NODES}
    assert shown == {"600 testmesh 65\n"}
    assert len({whole.compose("exec", "-T", node, "cat", "/secret/mesh") for node in NODES}) == 1


def test_every_module_has_a_loopback_of_its_own_without_root(whole: Stack) -> None:
    assert {whole.get("/health", port)["loopback"] for port in whole.ports} == {"private"}
    assert {whole.get("/health", port)["sandbox"] for port in whole.ports} == {"full"}
    assert whole.compose("exec", "-T", "cnode1", "id", "-u").strip() == "10001"
    status = whole.compose("exec", "-T", "cnode1", "cat", "/proc/1/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_containers_are_bounded_and_checked(whole: Stack) -> None:
    for service in (*NODES, "nginx"):
        container = whole.inspect(service)
        host = container["HostConfig"]
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert host["PidsLimit"] > 0
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert container["Config"]["User"] not in ("", "root", "0")
        wait_for(lambda name=service: whole.inspect(name)["State"]["Health"]["Status"] == "healthy", what=service)  # type: ignore[misc]


def test_code_under_test_does_not_find_the_node_s_environment(whole: Stack) -> None:
    done = whole.wait_done(whole.submit(zip_of(projects(1, LOOKS))))
    assert done["_run_info"]["passed"] == 2, done["module_results"]


def test_a_node_killed_in_an_evaluation_costs_no_request_and_no_result(whole: Stack) -> None:
    count = 16
    evaluation_id = whole.submit(zip_of(projects(count, SERVES)))
    wait_for(lambda: whole.get(f"/evaluation/{evaluation_id}")["_run_info"]["executed"] >= 2, what="two results")
    paths = [f"/evaluation/{evaluation_id}", "/stats", "/evaluation", "/network"]
    killed = threading.Event()

    def ask(number: int) -> str:
        if number == 30:
            whole.compose("kill", "cnode1")
            killed.set()
        answer = requests.get(f"{whole.url}{paths[number % 4]}", timeout=30)
        return f"{answer.status_code} {killed.is_set()}"

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(ask, range(200)))
    assert {answer.partition(" ")[0] for answer in answers} == {"200"}
    assert answers.count("200 True") > 100

    done = whole.wait_done(evaluation_id)
    assert done["status"] == "done"
    numbers = {key: done["_run_info"][key] for key in ("executed", "passed", "failed", "%passed", "nota", "errors")}
    assert numbers == {"executed": count, "passed": count, "failed": count, "%passed": 50.0, "nota": 10.0, "errors": 0}

    earlier = whole.get("/evaluation", whole.ports[1])["evaluations"]
    whole.compose("up", "-d")
    whole.wait_whole()
    assert wait_for(
        lambda: (
            [
                found["id"]
                for found in whole.get("/evaluation", whole.ports[0])["evaluations"]
                if found["status"] == "done"
            ]
            == [found["id"] for found in earlier]
        ),
        what="the killed node to catch up",
    )
    caught_up = whole.get(f"/evaluation/{evaluation_id}", whole.ports[0])
    assert caught_up["module_results"] == done["module_results"]


def test_a_node_whose_process_dies_is_started_again_on_its_volume(whole: Stack) -> None:
    evaluation_id = whole.submit(zip_of(projects(1, "def test_it(): pass")), whole.ports[1])
    whole.wait_done(evaluation_id, whole.ports[1])
    before = whole.inspect("cnode2")
    whole.compose("exec", "-T", "cnode2", "/opt/testmesh/bin/python", "-c", KILL_THE_NODE)
    wait_for(lambda: whole.inspect("cnode2")["RestartCount"] > before["RestartCount"], what="another start")
    whole.wait_whole()
    assert whole.inspect("cnode2")["Id"] == before["Id"]
    assert whole.get(f"/evaluation/{evaluation_id}", whole.ports[1])["status"] == "done"


def test_a_stopped_container_drains_within_its_grace(whole: Stack) -> None:
    evaluation_id = whole.submit(zip_of(projects(8, SLOW)))
    document = wait_for(
        lambda: (found := whole.get(f"/evaluation/{evaluation_id}"))["_run_info"]["running"] >= 4 and found,
        what="modules to run",
    )
    running = {
        result["node"]
        for modules in document["module_results"].values()
        for result in modules.values()
        if result["verdict"] == "running"
    }
    node = next(name for name in NODES if any(address.startswith(f"{name}:") for address in running))
    whole.compose("stop", node)
    assert whole.inspect(node)["State"]["ExitCode"] == 0  # 137 where it had to be killed
    done = whole.wait_done(evaluation_id)
    assert (done["_run_info"]["passed"], done["_run_info"]["failed"]) == (8, 0)


def test_nginx_starts_while_a_node_is_away(whole: Stack) -> None:
    whole.compose("stop", "cnode3")
    whole.compose("up", "-d", "--force-recreate", "--no-deps", "nginx")
    wait_for(lambda: _healthy(whole.url), what="the entrance to answer")
    assert all(_healthy(whole.url) for _ in range(12))


def test_the_curl_examples_of_the_readme_work_through_the_entrance(whole: Stack) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    examples = "".join(block for block in blocks if "curl" in block and "$TESTMESH_URL" in block)
    assert examples.count("curl") >= 5
    (whole.folder / ".curlrc").write_text("fail-with-body\nshow-error\n")
    whole.variables |= {"CURL_HOME": str(whole.folder), "TESTMESH_URL": whole.url}
    ran = whole.run("bash", "-e", "-o", "pipefail", "-c", examples)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=20).status_code == 200
    except requests.ConnectionError:
        return False


def test_an_override_adds_nodes_to_the_mesh_and_the_entrance(whole: Stack) -> None:
    more = free_ports(2)
    whole.files = ("docker-compose.yml", "docker/six-nodes.yml")
    whole.variables |= {f"CNODE{number}_PORT": str(port) for number, port in zip((5, 6), more, strict=True)}
    whole.ports += more
    try:
        whole.compose("up", "-d", "--build")
        whole.wait_whole()
        seen: set[str] = set()

        def sees_all() -> bool:
            seen.add(whole.get("/health")["address"])
            return len(seen) == 6

        wait_for(sees_all, what="the entrance to lead to every node")
    finally:
        whole.files, whole.ports = (), whole.ports[:4]
        whole.compose("up", "-d", "--remove-orphans")
