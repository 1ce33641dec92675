"""The messages between nodes as JSON, for both ends."""

from pydantic import TypeAdapter

from testmesh.node.membership.membership import Member
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

PING_REPLY = TypeAdapter(PingReply)
INDIRECT_REPLY = TypeAdapter(IndirectReply)
MEMBERS = TypeAdapter(Members)
UPDATES = TypeAdapter(tuple[Member, ...])
REPLICATE = TypeAdapter(Replicate)
WORK_ORDER = TypeAdapter(WorkOrder)
REPORTS = TypeAdapter(AttemptReports)
HELD = TypeAdapter(Held)
DIGESTS = TypeAdapter(Digests)
PEER_LIST = TypeAdapter(PeerList)
PAGE = TypeAdapter(Page)
VITALS = TypeAdapter(Vitals)
FETCH_ORDER = TypeAdapter(FetchOrder)
FETCH_PROGRESS = TypeAdapter(FetchProgress)
ARCHIVES_ASKED = TypeAdapter(ArchivesAsked)
ARCHIVES_HELD = TypeAdapter(ArchivesHeld)
