"""A real node at its limits: large uploads, a full queue, tokens, a full disk, settings that are wrong."""

import contextlib
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from testmesh.client.multipart import Multipart
from testmesh.testing.boxes import open_boxes
from tests.support import zips
from tests.support.mesh import ROOT, RunningNode, children, mesh, wait_for
from tests.support.ports import reserved_ports

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(180)]

MIB = 1024**2
GOOD = zips.make_zip({"p/test_a.py": zips.PASSING})
HANG = zips.make_zip({"p/test_a.py": "import time\n\ndef test_hang():\n    time.sleep(600)\n"})
TOKEN, READER = "the-token-of-the-service", "the-token-of-readers"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def refused(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    assert len(detail) > 20
    assert detail[-1] == "."
    return detail


def post(url: str, archive: bytes = GOOD, **headers: str) -> requests.Response:
    return requests.post(f"{url}/evaluation", files={"file": ("class.zip", archive)}, headers=headers, timeout=60)


# Memory -------------------------------------------------------------------------------------


def large_zip(path: Path, size: int) -> Path:
    """Mostly noise, and one test. All but a part of it is stored: packing it in vain would take seconds."""
    noise = random.Random(7)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/test_a.py", zips.PASSING)
        for number in range(size // (4 * MIB)):
            kind = zipfile.ZIP_STORED if number else zipfile.ZIP_DEFLATED
            archive.writestr(f"p/picture_{number}.png", noise.randbytes(4 * MIB), kind)
    return path


def worker_of(node: RunningNode) -> int:
    assert node.process is not None
    return children(node.process.pid)[0]


def resident(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def test_64_mebibytes_cost_the_nodes_less_than_16_of_memory(tmp_path: Path) -> None:
    """The one that receives them, and the one that keeps the copy and may run the module, to the end of the run."""
    archive = large_zip(tmp_path / "large.zip", 64 * MIB)
    with mesh(tmp_path, 2) as running:
        running[0].wait_done(running[0].submit(GOOD))
        before = {}
        for node in running.nodes:
            pid = worker_of(node)
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak from now on
            before[pid] = resident(pid, "VmRSS")
        body = Multipart([("file", "class.zip", archive)])
        url, headers = f"{running[0].url}/evaluation", {"Content-Type": body.content_type}
        answer = requests.post(url, data=body, headers=headers, timeout=120)
        assert answer.status_code == 202, answer.text
        assert running[1].wait_done(answer.json()["id"])["_run_info"]["passed"] == 1
        sizes = [path.stat().st_size for node in running.nodes for path in (node.data / "archives").iterdir()]
        assert sum(size > 64 * MIB for size in sizes) == 2, "it is on both"
        grown = {pid: resident(pid, "VmHWM") - size for pid, size in before.items()}
    assert max(grown.values()) < 16 * MIB, grown


# The queue ----------------------------------------------------------------------------------


def test_beyond_the_queue_is_429_until_there_is_room(tmp_path: Path) -> None:
    with mesh(tmp_path, 2, MESH_MAX_QUEUE="1") as running:
        done = running[0].submit(GOOD)
        running[0].wait_done(done)
        first = post(running[0].url, HANG, **{"Idempotency-Key": "first"}).json()["id"]
        wait_for(lambda: running[1].get(f"/evaluation/{first}")["_run_info"]["running"], what="the module to hang")
        kept = [sorted(path.name for path in (node.data / "archives").iterdir()) for node in running.nodes]
        for node in running.nodes:  # the queue is the mesh's
            for answer in (
                post(node.url),
                requests.post(f"{node.url}/evaluation", json={"projects": ["https://github.com/o/r"]}, timeout=30),
                requests.post(f"{node.url}/evaluation/{done}/rerun", timeout=30),
            ):
                refused(answer, 429)
                assert 1 <= int(answer.headers["Retry-After"]) <= 600
        assert [sorted(p.name for p in (node.data / "archives").iterdir()) for node in running.nodes] == kept
        assert not any(path for node in running.nodes for path in (node.data / "incoming").iterdir())
        assert len(running[1].get("/evaluation")["evaluations"]) == 2

        assert requests.delete(f"{running[1].url}/evaluation/{first}", timeout=30).status_code == 202
        assert running[0].wait_done(first)["status"] == "cancelled"
        assert running[0].wait_done(running[0].submit(GOOD))["_run_info"]["nota"] == 20.0


def test_a_submission_right_after_a_peers_death_is_taken_by_the_one_that_is_left(tmp_path: Path) -> None:
    with mesh(tmp_path, 2) as running:
        running[1].kill()
        answer = post(running[0].url)  # before the membership knows, the copy is offered to the dead one
        assert answer.status_code == 202, answer.text
        assert running[0].wait_done(answer.json()["id"])["_run_info"]["nota"] == 20.0


# Tokens -------------------------------------------------------------------------------------


def test_tokens_guard_writing_and_reading(tmp_path: Path) -> None:
    with mesh(tmp_path, 2, MESH_API_TOKEN=TOKEN, MESH_READ_TOKEN=READER) as running:
        url = running[0].url
        answer = post(url, Authorization=f"Bearer {TOKEN}")
        assert answer.status_code == 202
        path = f"/evaluation/{answer.json()['id']}"

        attempts = ("", TOKEN, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}")
        for given in (*attempts, f"Bearer {READER}"):
            for method, where in (
                ("POST", "/evaluation"),
                ("DELETE", path),
                ("POST", f"{path}/rerun"),
                ("DELETE", f"/evaluation/{UNKNOWN_ID}"),
                ("PATCH", "/evaluation"),
            ):
                refusal = requests.request(
                    method, url + where, headers={"Authorization": given} if given else {}, timeout=30
                )
                assert "MESH_API_TOKEN" in refused(refusal, 401)
                assert refusal.headers["WWW-Authenticate"].startswith("Bearer")
        for given in attempts:
            for where in ("/evaluation", "//evaluation", path, f"{path}/tests", f"/evaluation/{UNKNOWN_ID}"):
                headers = {"Authorization": given} if given else {}
                assert "MESH_READ_TOKEN" in refused(requests.get(url + where, headers=headers, timeout=30), 401)
            assert requests.head(url + path, headers=headers, timeout=30).status_code == 401

        for token in (READER, TOKEN):
            for node in running.nodes:  # peers do without
                read = requests.get(node.url + path, headers={"Authorization": f"bearer {token}"}, timeout=30)
                assert read.status_code == 200, read.text
        for where in ("/stats", "/network", "/peers", "/health"):
            assert requests.get(url + where, timeout=30).status_code == 200
        assert not any(secret in node.log.read_text() for node in running.nodes for secret in (TOKEN, READER))
        assert not any(path for node in running.nodes for path in (node.data / "incoming").iterdir())


# The disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk: there is no mount command")
    if done.returncode:
        pytest.skip(f"a full disk: it takes root to mount a small one ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    filler = folder / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb") as file, contextlib.suppress(OSError):  # others write too: it may be full a bit early
        while (left := shutil.disk_usage(folder).free - leave) > 0:
            file.write(bytes(min(left, 4 * MIB)))
            file.flush()
    return filler


def test_a_full_disk_is_507_and_what_was_graded_stays(small_disk: Path, tmp_path: Path) -> None:
    data = small_disk / "data"
    with mesh(tmp_path, 1, MESH_DATA_DIR=str(data)) as running:
        node = running[0]
        done = node.submit(GOOD)
        before = node.wait_done(done)
        archives = sorted((data / "archives").iterdir())

        filler = fill(small_disk, leave=40 * MIB)
        health = requests.get(f"{node.url}/health", timeout=30)
        assert (health.status_code, health.json()["status"]) == (503, "disk full")
        refused(post(node.url), 507)
        body = {"projects": ["https://github.com/o/r"]}
        refused(requests.post(f"{node.url}/evaluation", json=body, timeout=30), 507)
        refused(requests.post(f"{node.url}/evaluation/{done}/rerun", timeout=30), 507)
        assert node.get(f"/evaluation/{done}") == before
        assert len(node.get("/evaluation")["evaluations"]) == 1

        fill(small_disk, leave=70 * MIB)  # enough to begin an upload, not to end it
        assert node.is_healthy()
        too_much = zips.make_zip(
            [("test_a.py", zips.PASSING), ("x.bin", random.Random(1).randbytes(80 * MIB))], method=zipfile.ZIP_STORED
        )
        refused(post(node.url, too_much), 507)
        assert list((data / "incoming").iterdir()) == []
        assert sorted((data / "archives").iterdir()) == archives
        assert len(node.get("/evaluation")["evaluations"]) == 1

        filler.unlink()
        assert node.is_healthy()
        assert node.wait_done(node.submit(GOOD))["_run_info"]["nota"] == 20.0
        assert "Traceback" not in node.log.read_text()


def test_results_that_come_while_the_disk_is_full_are_not_lost(small_disk: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = (
        "import pathlib, time\n\ndef test_waits():\n"
        f"    while not pathlib.Path({str(gate)!r}).exists():\n        time.sleep(0.05)\n"
    )
    # Level none, so that the tests see the gate.
    with mesh(tmp_path, 1, MESH_DATA_DIR=str(small_disk / "data"), MESH_SANDBOX="none") as running:
        node = running[0]
        evaluation_id = node.submit(zips.make_zip({f"p{number}/test_a.py": waits for number in range(3)}))
        wait_for(lambda: node.get(f"/evaluation/{evaluation_id}")["_run_info"]["running"] == 3, what="all to run")
        filler = fill(small_disk, leave=0)
        gate.touch()
        wait_for(lambda: "disk is full" in node.log.read_text(), what="a result that cannot be stored")
        assert node.get(f"/evaluation/{evaluation_id}")["finished_at"] is None
        filler.unlink()
        assert node.wait_done(evaluation_id)["_run_info"]["passed"] == 3


# Settings -----------------------------------------------------------------------------------


def run_node(folder: Path, **settings: str) -> tuple[int, str]:
    """Exit status and output of a node that cannot start. That the output ends shows that no process of it is left."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
    command = [sys.executable, str(ROOT / "src" / "run_node.py")]
    with reserved_ports(1) as (port,):
        environ |= {"MESH_PORT": str(port), "MESH_DATA_DIR": str(folder / "data")} | settings
        done = subprocess.run(
            command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MESH_PORT", "65536"),
        ("MESH_SECRET", "2short"),
        ("MESH_MAX_UPLOAD", "-1"),
        ("MESH_GITHUB_API", "file:///etc"),
        ("MESH_NO_SUCH_SETTING", "1"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_status_2(tmp_path: Path, name: str, value: str) -> None:
    status, output = run_node(tmp_path, **{name: value})
    (line,) = output.splitlines()
    assert status == 2
    assert line.startswith("testmesh: ")
    assert name in line
    assert (value in line) == (name not in ("MESH_SECRET", "MESH_NO_SUCH_SETTING"))
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_is_one_line_and_an_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output = run_node(tmp_path, MESH_PORT=port)
    (line,) = output.splitlines()
    assert status not in (0, 1)
    assert f"MESH_PORT={port}" in line


def test_a_sandbox_that_cannot_be_had_is_one_line_and_an_end(tmp_path: Path) -> None:
    boxes = open_boxes(tmp_path / "try")
    boxes.close()
    best = boxes.level.sandbox
    if best == "full":
        pytest.skip("a sandbox that cannot be had: this machine gives every level")
    status, output = run_node(tmp_path, MESH_SANDBOX="full")
    (line,) = output.splitlines()
    assert status not in (0, 1)
    assert "MESH_SANDBOX=full" in line
    assert repr(best) in line


@pytest.mark.parametrize("kind", ["a file", "below a file", "another version"])
def test_a_data_folder_that_is_none_is_one_line_and_an_end(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "data"
    if kind == "another version":
        place.mkdir()
        with contextlib.closing(sqlite3.connect(place / "mesh.db")) as database:
            database.executescript("CREATE TABLE evaluations (id TEXT); PRAGMA user_version = 1;")
    else:
        place.write_text("a file")
    status, output = run_node(tmp_path, MESH_DATA_DIR=str(place / "below" if kind == "below a file" else place))
    (line,) = output.splitlines()
    assert status not in (0, 1)
    assert "cannot start" in line
    assert ("another version" if kind == "another version" else "MESH_DATA_DIR") in line
