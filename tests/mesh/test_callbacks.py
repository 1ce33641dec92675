"""Real nodes call back a receiver on loopback, whoever of them dies."""

import hashlib
import hmac
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.mesh import RunningNode, mesh, wait_for, zip_of
from tests.support.receiver import Delivery, receiving

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

KEY = "the-key-of-the-callbacks"
MIXED = "def test_one():\n    pass\n\ndef test_two():\n    assert False\n"


def is_signed(found: Delivery) -> bool:
    moment, signature = (part.split("=")[1] for part in found.headers["Testmesh-Signature"].split(","))
    return signature == hmac.new(KEY.encode(), moment.encode() + b"." + found.body, hashlib.sha256).hexdigest()


def is_written_down(node: RunningNode) -> bool:
    with closing(sqlite3.connect(f"file:{node.data / 'mesh.db'}?mode=ro", uri=True)) as connection:
        documents = [json.loads(row[0]) for row in connection.execute("SELECT document FROM evaluations")]
    asked = [document["called_back"] for document in documents if document["options"]["callback_url"]]
    return bool(asked) and all(asked)


def test_the_owner_is_killed_before_it_could_tell_and_its_successor_tells_once(tmp_path: Path) -> None:
    settings = {"MESH_CALLBACK_SECRET": KEY, "MESH_CALLBACK_PRIVATE": "1"}
    with receiving(500) as receiver, mesh(tmp_path, 2, **settings) as running:
        url = receiver.url("/hook?password=of-the-receiver")
        evaluation_id = running[0].submit(zip_of({"p/test_a.py": MIXED}), {"callback_url": url})
        wait_for(lambda: receiver.deliveries, what="the first try")
        wait_for(lambda: running[1].get(f"/evaluation/{evaluation_id}")["finished_at"], what="the end to be known")
        running[0].kill()
        in_vain = len(receiver.deliveries)
        receiver.statuses[:] = [204]
        wait_for(lambda: is_written_down(running[1]), what="the callback to be told and written down")

        document = running[1].get(f"/evaluation/{evaluation_id}")
        *_, last = receiver.deliveries
        assert len(receiver.deliveries) == in_vain + 1
        assert json.loads(last.body) == {
            name: document[name] for name in ("id", "status", "submitted_at", "finished_at", "_run_info", "projects")
        }
        assert document["_run_info"]["nota"] == 10.0
        assert {found.headers["Testmesh-Delivery"] for found in receiver.deliveries} == {evaluation_id}
        assert all(is_signed(found) for found in receiver.deliveries)

        running[0].start()
        running.wait_joined()
        wait_for(lambda: is_written_down(running[0]), what="the first node to have heard of it")
        again = running[1].request("POST", f"/evaluation/{evaluation_id}/rerun", timeout=30)
        assert running[1].wait_done(again.json()["id"])["_run_info"]["nota"] == 10.0
        assert len(receiver.deliveries) == in_vain + 1, "neither told again, nor of a rerun"
        logs = "".join(node.log.read_text() for node in running.nodes)
        assert "password" not in logs
        assert KEY not in logs
