"""JSON from strangers."""

import json
import math
from typing import Any, NoReturn

from testmesh.errors import MalformedError


def strict_json(raw: bytes, what: str) -> Any:
    """Read JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no number beyond a float, no name twice in an object.

    Raises:
        MalformedError: `what` is not that.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise MalformedError(f"{_capital(what)} is not UTF-8; encode the JSON as UTF-8.") from None
    except RecursionError:
        raise MalformedError(f"{_capital(what)} is nested too deeply; send plain JSON.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedError(f"{_capital(what)} is not valid JSON ({error.msg}, {where}).") from None
    except ValueError as error:
        raise MalformedError(f"{_capital(what)} is not valid JSON: {error}.") from None


def _capital(what: str) -> str:
    return what[0].upper() + what[1:]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _bounded(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number is too large")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in an object")
    return found
