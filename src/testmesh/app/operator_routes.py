"""What operators look at: the nodes of the mesh, and this node's metrics."""

# ruff: noqa: ARG001 - flask-openapi gives a view what it checked by the name `query`

from typing import Annotated, Any, Literal

from flask import Response, request
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from testmesh.app import views
from testmesh.app.operations import answers
from testmesh.app.schemas import NoQuery
from testmesh.node.service import NodeService, NodeVitals

Part = Annotated[float, Field(ge=0, le=1)] | None
Count = Annotated[int, Field(ge=0)] | None


class NodesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    history: Literal["0", "1"] = Field(default="1", description="0 leaves the histories empty")


class NodeOut(BaseModel):
    """What is not known is null: the node is gone, or did not answer just now."""

    model_config = ConfigDict(extra="forbid")

    address: str
    alive: bool
    status: str = Field(description="ok, draining, disk full; suspect, no answer; dead, left")
    sandbox: str | None
    loopback: str | None
    version: str | None
    cores: Annotated[float, Field(ge=0)] | None
    slots: Count
    running: Count
    waiting: Count
    cpu: Part = Field(description="the used part of its processors")
    memory: Part = Field(description="the used part of its memory")
    uptime: Annotated[float, Field(ge=0)] | None = Field(description="seconds")
    history: list[tuple[int, int, int, float | None]] = Field(
        description="every ten seconds of the last hour, the oldest first: Unix seconds, running, waiting, cpu"
    )


class NodeList(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra=lambda schema: schema.update(example=_EXAMPLE))

    nodes: list[NodeOut]


def register_operator(app: OpenAPI, node: NodeService) -> None:
    """`/nodes` and `/metrics`."""

    @app.get(
        "/nodes",
        operation_id="nodes",
        summary="Every node, live or lately gone, with its load",
        responses=answers({200: NodeList}, 400),
    )
    def nodes(query: NodesQuery) -> Response:
        return views.json_answer(node_list(node.nodes(history=query.history == "1")))

    @app.get(
        "/metrics",
        operation_id="metrics",
        summary="This node's metrics for Prometheus",
        responses=answers(_METRICS, 400),
    )
    def metrics(query: NoQuery) -> Response:
        text, media_type = node.metrics(request.headers.get("Accept", ""))
        return Response(text, content_type=media_type)


def node_list(nodes: tuple[NodeVitals, ...]) -> dict[str, Any]:
    """The answer of `GET /nodes`."""
    return {"nodes": [_node(node) for node in nodes]}


def _node(node: NodeVitals) -> dict[str, Any]:
    return {
        "address": node.address,
        "alive": node.alive,
        "status": node.status,
        "sandbox": node.sandbox,
        "loopback": node.loopback,
        "version": node.version,
        "cores": node.cores,
        "slots": node.slots,
        "running": node.running,
        "waiting": node.waiting,
        "cpu": _rounded(node.cpu),
        "memory": _rounded(node.memory),
        "uptime": None if node.uptime is None else round(node.uptime, 1),
        "history": [[at, running, waiting, _rounded(cpu)] for at, running, waiting, cpu in node.history],
    }


def _rounded(part: float | None) -> float | None:
    return None if part is None else round(part, 3)


_EXAMPLE: dict[str, Any] = node_list(
    (
        NodeVitals(
            "10.0.0.1:5001",
            alive=True,
            status="ok",
            sandbox="full",
            loopback="private",
            version="0.1.0",
            cores=2.0,
            slots=64,
            running=3,
            waiting=5,
            cpu=0.417,
            memory=0.25,
            uptime=3600.4,
            history=((1_795_287_890, 2, 0, None), (1_795_287_900, 3, 5, 0.417)),
        ),
        NodeVitals("10.0.0.2:5001", alive=False, status="dead"),
    )
)
_METRICS: dict[int, Any] = {
    200: {
        "description": "in OpenMetrics where Accept asks for that",
        "content": {
            kind: {"schema": {"type": "string"}, "example": "# TYPE testmesh_slots gauge\ntestmesh_slots 64.0\n"}
            for kind in ("text/plain", "application/openmetrics-text")
        },
    }
}
