"""PURE: what a callback says, and the signature by which its receiver knows who says it."""

import hashlib
import hmac
import json
from collections.abc import Sequence

from testmesh.model import Evaluation, ModuleState
from testmesh.node.document import document
from testmesh.node.service import EvaluationView

_SHOWN = ("id", "status", "submitted_at", "finished_at", "_run_info", "projects")


def body_of(evaluation: Evaluation, states: Sequence[ModuleState], now: float) -> bytes:
    """The evaluation as the API shows it, without its modules; `now` in Unix seconds."""
    shown = document(EvaluationView(evaluation, tuple(states)), now)
    return json.dumps({name: shown[name] for name in _SHOWN}, separators=(",", ":"), allow_nan=False).encode()


def headers_of(evaluation_id: str, body: bytes, key: str, now: float) -> dict[str, str]:
    """An evaluation ends once, so its id names the delivery too: the same at every try, from whichever node."""
    moment = str(int(now))
    signed = hmac.new(key.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "Testmesh-Delivery": evaluation_id,
        "Testmesh-Signature": f"t={moment},v1={signed}",
    }
