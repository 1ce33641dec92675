"""What makes containers of nodes, as far as it can be told without an engine."""

import importlib.util
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from testmesh.local import docker_node, engine
from testmesh.local.__main__ import main
from testmesh.local.docker_mesh import DockerMesh
from testmesh.local.engine import Engine
from testmesh.local.errors import LocalError
from testmesh.settings import Settings, settings_from
from tests.support.checkout import REPOSITORY

ENGINE = Engine("docker")
NODE = (REPOSITORY / "docker" / "node.yml").read_text()


@pytest.fixture(scope="module")
def entrypoint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("entrypoint", REPOSITORY / "docker" / "entrypoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_containers_that_start_at_once_agree_on_one_secret(entrypoint: ModuleType, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        kept = set(threads.map(lambda _: entrypoint.keep_secret(tmp_path / "mesh", ""), range(40)))
    assert len(kept) == 1
    assert len(kept.pop()) == 64
    assert stat.S_IMODE((tmp_path / "mesh").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["mesh"]


def test_a_given_secret_replaces_the_kept_one(entrypoint: ModuleType, tmp_path: Path) -> None:
    made = entrypoint.keep_secret(tmp_path / "mesh", "")
    assert entrypoint.keep_secret(tmp_path / "mesh", "long-enough") == "long-enough"
    assert entrypoint.keep_secret(tmp_path / "mesh", "") == "long-enough" != made


@pytest.mark.parametrize(
    ("given", "advertised", "bootstrap"),
    [
        ({}, "box:5001", ()),
        ({"MESH_PORT": "5003"}, "box:5003", ()),
        ({"NODE_NAME": "cnode2", "MESH_PORT": "5002", "NEIGHBOURS": "a:1,cnode2:5002"}, "cnode2:5002", ("a:1",)),
        ({"HOST_REAL_IP": "10.1.2.3", "NODE_NAME": "cnode2"}, "10.1.2.3:5001", ()),
        ({"HOST_REAL_IP": "10.1.2.3", "PUBLISHED_PORT": "7001", "NODE_NAME": "a"}, "10.1.2.3:7001", ()),
        ({"HOST_REAL_IP": "10.1.2.3", "MESH_ADVERTISE": "mesh:9"}, "mesh:9", ()),
        ({"NEIGHBOURS": "a:1", "MESH_BOOTSTRAP": "b:2,c:3"}, "box:5001", ("a:1", "b:2", "c:3")),
    ],
)
def test_the_node_is_told_how_it_is_reached(
    entrypoint: ModuleType, given: dict[str, str], advertised: str, bootstrap: tuple[str, ...]
) -> None:
    environ = entrypoint.node_environ({"HOST_REAL_IP": "", "MESH_SANDBOX": ""} | given, "long-enough", "box")
    settings = settings_from(environ)
    assert (settings.host, settings.advertise, settings.bootstrap) == ("0.0.0.0", advertised, bootstrap)
    assert (settings.secret, settings.data_dir) == ("long-enough", Path("/data"))
    assert "HOST_REAL_IP" not in environ


def test_every_setting_reaches_the_nodes_of_the_stack() -> None:
    own = {"host", "port", "advertise", "data_dir"}  # docker-compose.yml's and the entry point's
    wanted = {f"MESH_{field.name.upper()}" for field in fields(Settings) if field.name not in own}
    assert set(re.findall(r"^      (MESH_\w+): \$\{\1:-\}$", NODE, re.MULTILINE)) == wanted


def test_what_the_stack_and_single_containers_allow_is_the_same() -> None:
    command = " ".join(docker_node.run_command(ENGINE, REPOSITORY, 5003, {}))
    assert "--cap-drop ALL" in command
    assert "cap_drop: [ALL]" in NODE
    for option, key in (("--memory", "mem_limit"), ("--cpus", "cpus"), ("--pids-limit", "pids_limit")):
        found = re.search(rf"^    {key}: (?:\$\{{\w+:-)?([\w.]+)", NODE, re.MULTILINE)
        assert found is not None
        assert f"{option} {found[1]} " in command
    tmpfs = re.search(r"- (/tmp:exec,mode=1777,size=)", NODE)
    assert tmpfs is not None
    assert tmpfs[1] in command


def test_a_container_is_told_its_settings_by_name_alone() -> None:
    environ = {"MESH_SECRET": "long-enough", "MESH_HOST": "0.0.0.0", "PIP_INDEX_URL": "http://u:p@x/", "HOME": "/root"}
    run = docker_node.run_command(ENGINE, REPOSITORY, 5003, environ)
    build = docker_node.build_command(ENGINE, REPOSITORY, environ)
    assert [value for option, value in pairwise(run) if option == "--env"] == [
        "MESH_SECRET",
        "PIP_INDEX_URL",
    ]
    assert build[build.index("--build-arg") + 1] == "PIP_INDEX_URL"
    assert not [part for part in run + build if "long-enough" in part or "u:p" in part]


def test_the_seccomp_profile_refuses_by_default_and_allows_namespaces() -> None:
    profile = json.loads((REPOSITORY / "docker" / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    free = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not {"args", "includes", "excludes"} & rule.keys()
        for name in rule["names"]
    }
    assert {"clone", "unshare", "mount", "mount_setattr", "umount2", "pivot_root", "sethostname"} <= free
    assert not {"bpf", "init_module", "kexec_load", "keyctl", "reboot", "open_by_handle_at", "userfaultfd"} & free


def test_only_what_the_image_needs_is_sent_to_the_engine() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    copied = re.findall(r"^COPY (.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert {line[1:] for line in lines if line.startswith("!")} == set(" ".join(copied).split())


def fake_docker(folder: Path, answers: dict[str, str]) -> dict[str, str]:
    """An environment in which `docker` runs these shell lines by its first argument, and fails otherwise."""
    folder.mkdir()
    cases = "\n".join(f"{argument}) {line} ;;" for argument, line in answers.items())
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}\n*) exit 1 ;;\nesac\n')
    program.chmod(0o755)
    return {"PATH": str(folder)}


def test_the_engine_is_asked_before_it_is_used(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="Docker is not installed"):
        engine.find_engine({"PATH": str(tmp_path)})
    with pytest.raises(LocalError, match="no daemon"):
        engine.find_engine(fake_docker(tmp_path / "a", {"info": "echo no daemon >&2; exit 1"}))
    with pytest.raises(LocalError, match="no compose"):
        engine.find_engine(fake_docker(tmp_path / "b", {"info": "echo 20"}))
    found = engine.find_engine(fake_docker(tmp_path / "c", {"info": "echo 20", "compose": "exit 0"}))
    assert found == Engine(str(tmp_path / "c/docker"), (str(tmp_path / "c/docker"), "compose"), fresh_proc=True)
    old = fake_docker(tmp_path / "d", {"info": "echo 20"})
    (tmp_path / "d/docker-compose").symlink_to("docker")
    assert engine.find_engine(old).compose == (str(tmp_path / "d/docker-compose"),)


def test_without_a_compose_file_there_are_no_containers(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"docker-compose\.yml is missing"):
        DockerMesh(tmp_path, os.environ, print).find_engine()
    assert not (tmp_path / ".run").exists()


def test_containers_cannot_be_counted_by_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--mode", "docker", "--nodes", "6"]) == 2
    assert "docs/docker.md" in capsys.readouterr().err
