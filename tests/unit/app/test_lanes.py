"""Which threads a request gets, and how long they wait for clients."""

from types import SimpleNamespace
from typing import cast

import pytest
from flask import Flask

from testmesh.app.auth import internal_blueprint
from testmesh.app.lanes import CHANGES, MOST_PENDING, NODE_NAMES, NODES, READS, Patience, lane_of
from testmesh.app.peer_routes import PeerService, register_peer_routes

HEAD = b" HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_paths_between_nodes_are_known() -> None:
    blueprint = internal_blueprint(None)
    register_peer_routes(blueprint, cast(PeerService, SimpleNamespace()), lambda: None)
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(blueprint)
    names = {rule.rule.split("/")[1] for rule in app.url_map.iter_rules()}
    assert {name.encode() for name in names} | {b"health", b"metrics"} == NODE_NAMES


@pytest.mark.parametrize(
    ("head", "lane"),
    [
        (b"GET /ping?updates=[]" + HEAD, NODES),
        (b"POST /run_tests" + HEAD + b"{}", NODES),
        (b"GET /archive/abc" + HEAD, NODES),
        (b"GET /health" + HEAD, NODES),
        (b"GET /metrics" + HEAD, NODES),
        (b"GET /health HTTP/1.1\r\nHos", READS),  # nothing of the nodes' lane waits for a head
        (b"GET /evaluation" + HEAD, READS),
        (b"GET /evaluation/x/results.csv" + HEAD, READS),
        (b"GET /pingx" + HEAD, READS),
        (b"GET http://x/ping" + HEAD, READS),
        (b"HEAD /" + HEAD, READS),
        (b"POST /evaluation HTTP/1.1\r\n", CHANGES),
        (b"DELETE /evaluation/x" + HEAD, CHANGES),
        (b"PO", READS),
        (b"\x16\x03\x01", READS),
        (b"", READS),
    ],
)
def test_a_request_has_the_threads_of_its_kind(head: bytes, lane: str) -> None:
    assert lane_of(head) == lane


def test_a_crowded_lane_waits_less_and_longer_for_who_moves() -> None:
    patience = Patience(1)
    with patience.waiting():
        assert patience.allowed(10, 0) == 10
        with patience.waiting():
            assert patience.allowed(10, 0) == 1
            assert patience.allowed(10, 64 * 1024 * 4) == 5
            assert patience.allowed(10, 2**30) == 10
        assert patience.allowed(10, 0) == 10


def test_a_lane_that_holds_much_for_its_clients_waits_less() -> None:
    patience = Patience(10)
    with patience.waiting(MOST_PENDING):
        assert patience.allowed(10, 0) == 10
        with patience.waiting(1):
            assert patience.allowed(10, 0) == 1
        assert patience.allowed(10, 0) == 10
