"""The internal API: what nodes ask of each other. Every path is signed; see `auth.internal_blueprint`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from flask import Blueprint, Response, request, send_file

from testmesh.errors import MalformedError
from testmesh.node.membership.membership import Member
from testmesh.node.messaging.codec import decode, encode
from testmesh.node.messaging.messages import (
    ArchivesAsked,
    ArchivesHeld,
    AttemptReports,
    Digests,
    FetchOrder,
    FetchProgress,
    Held,
    IndirectReply,
    Members,
    Page,
    PeerList,
    PingReply,
    Replicate,
    Vitals,
    WorkOrder,
)
from testmesh.node.messaging.wire import (
    ARCHIVES_ASKED,
    ARCHIVES_HELD,
    DIGESTS,
    FETCH_ORDER,
    FETCH_PROGRESS,
    HELD,
    INDIRECT_REPLY,
    MEMBERS,
    PAGE,
    PEER_LIST,
    PING_REPLY,
    REPLICATE,
    REPORTS,
    UPDATES,
    VITALS,
    WORK_ORDER,
)
from testmesh.settings import parse_address

_JSON = "application/json"


class PeerService(Protocol):
    """What a node does for the others."""

    def join(self, members: tuple[Member, ...]) -> tuple[Member, ...]: ...

    def introduced(self, updates: tuple[Member, ...]) -> None: ...

    def pinged(self, updates: tuple[Member, ...]) -> PingReply: ...

    def ping_for(self, target: str, timeout: float) -> IndirectReply: ...

    def held_tasks(self) -> Held: ...

    def take_order(self, order: WorkOrder) -> None: ...

    def take_reports(self, reports: AttemptReports) -> None: ...

    def digests(self) -> dict[str, int]: ...

    def records(self, evaluation_id: str, start: int) -> Page: ...

    def store_copy(self, message: Replicate) -> None: ...

    def archive(self, digest: str) -> Path: ...

    def fetch_archives(self, order: FetchOrder) -> FetchProgress: ...

    def held_archives(self, asked: ArchivesAsked) -> ArchivesHeld: ...

    def peers(self) -> list[str]: ...

    def vitals(self, *, history: bool) -> Vitals: ...


def register_peer_routes(blueprint: Blueprint, node: PeerService, terminate: Callable[[], None]) -> None:
    """`terminate` makes the process drain and stop, and returns at once."""

    @blueprint.post("/join")
    def join() -> Response:
        members = decode(MEMBERS, request.get_data()).members
        return _answer(encode(MEMBERS, Members(node.join(members))))

    @blueprint.post("/new_peer")
    def new_peer() -> Response:
        node.introduced(decode(MEMBERS, request.get_data()).members)
        return _answer(b"{}")

    @blueprint.get("/ping")
    def ping() -> Response:
        target = request.args.get("target")
        if target is None:
            return _answer(encode(PING_REPLY, node.pinged(decode(UPDATES, request.args.get("updates", "[]")))))
        try:
            address, timeout = parse_address(target), float(request.args.get("timeout", "0.5"))
        except ValueError as error:
            raise MalformedError(f"target is not an address, or timeout not a number: {error}.") from None
        return _answer(encode(INDIRECT_REPLY, node.ping_for(address, min(5.0, max(0.1, timeout)))))

    @blueprint.get("/load")
    def load() -> Response:
        return _answer(encode(HELD, node.held_tasks()))

    @blueprint.post("/run_tests")
    def run_tests() -> Response:
        node.take_order(decode(WORK_ORDER, request.get_data()))
        return _answer(b"{}", 202)

    @blueprint.post("/results")
    def results() -> Response:
        node.take_reports(decode(REPORTS, request.get_data()))
        return _answer(b"{}")

    @blueprint.get("/evaluation_req")
    def digests() -> Response:
        return _answer(encode(DIGESTS, Digests(node.digests())))

    @blueprint.post("/evaluation_req")
    def replicate() -> Response:
        node.store_copy(decode(REPLICATE, request.get_data()))
        return _answer(b"{}")

    @blueprint.get("/evaluation_req/<evaluation_id>")
    def records(evaluation_id: str) -> Response:
        start = request.args.get("start", "0")
        if not re.fullmatch(r"\d{1,9}", start, re.ASCII):
            raise MalformedError("start is not the number of a module.")
        return _answer(encode(PAGE, node.records(evaluation_id, int(start))))

    @blueprint.get("/archive/<digest>")
    def archive(digest: str) -> Response:
        return send_file(node.archive(digest), mimetype="application/zip")  # or a part of it (Range)

    @blueprint.post("/fetch_archives")
    def fetch_archives() -> Response:
        return _answer(encode(FETCH_PROGRESS, node.fetch_archives(decode(FETCH_ORDER, request.get_data()))))

    @blueprint.post("/held_archives")
    def held_archives() -> Response:
        return _answer(encode(ARCHIVES_HELD, node.held_archives(decode(ARCHIVES_ASKED, request.get_data()))))

    @blueprint.get("/stats_req")
    def stats() -> Response:
        return _answer(encode(PEER_LIST, PeerList(tuple(node.peers()))))

    @blueprint.get("/vitals")
    def vitals() -> Response:
        return _answer(encode(VITALS, node.vitals(history=request.args.get("history") == "1")))

    @blueprint.get("/kill")
    def kill() -> Response:
        terminate()
        return _answer(b"{}", 202)


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status, mimetype=_JSON)
