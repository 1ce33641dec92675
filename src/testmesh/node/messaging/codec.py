"""Records to JSON and back, checked: for the disk and for messages between nodes."""

import json
import math
import zlib
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from testmesh.errors import MalformedError
from testmesh.model import Counts, Evaluation, ModuleResult, TestResult, Verdict
from testmesh.node.messaging.messages import Digests, PingReply

T = TypeVar("T")

EVALUATION: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
TESTS: TypeAdapter[tuple[TestResult, ...]] = TypeAdapter(tuple[TestResult, ...])

# Of any number that is counted. What comes from others leaves room to count on from there, and to add up many of them:
# so whatever they say, nothing that this node makes of it is beyond what its store holds.
MOST_RECEIVED, _MOST_TESTS_RECEIVED = 2**53, 2**31
_MOST_STORED = 2**62
_MOST_OF_A_DIGEST = 2**63 - 1
_MINUS_ZERO = b"-0.0"


def decode(adapter: TypeAdapter[T], data: bytes | str) -> T:
    """Raises MalformedError for anything that is not this record, or has a value that no node sends."""
    try:
        found = adapter.validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"The message is not what this node understands: {error.errors()[0]['msg']}.") from None
    return checked(found, MOST_RECEIVED)


def encode(adapter: TypeAdapter[Any], record: object) -> bytes:
    """Raises MalformedError for what could not be read again."""
    return adapter.dump_json(checked(record))


def as_read_again(adapter: TypeAdapter[T], record: T) -> T:
    """What `decode` makes of what `encode` makes of it, but for a minus zero: it equals zero, and is written otherwise.

    Nodes would call two such records the same, and never agree on their fingerprints. Raises MalformedError.
    """
    data = encode(adapter, record)
    if _MINUS_ZERO in data:  # a time, or just a text that has it
        data = json.dumps(json.loads(data, parse_float=lambda text: float(text) + 0.0)).encode()
    return decode(adapter, data)


def checked(record: T, most: int = _MOST_STORED) -> T:
    """The record itself.

    Raises:
        MalformedError: a number in it is negative, not finite or more than `most`, a text is none that can be stored,
            or what should be a result is not final.
    """
    try:
        _check(record, most)
    except ValueError as error:
        raise MalformedError(f"The message is not what this node understands: {error}.") from None
    return record


def _check(value: object, most: int) -> None:
    if value is None:
        return
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # lone surrogates: UnicodeEncodeError is a ValueError
    elif isinstance(value, int):
        if not 0 <= value <= most:
            raise ValueError(f"a number is not in 0 to {most}")
    elif isinstance(value, float):
        if not 0.0 <= value < math.inf:
            raise ValueError("a time is negative or not finite")
    elif isinstance(value, tuple):
        for each in value:
            _check(each, most)
    elif isinstance(value, dict):
        for key, each in value.items():
            _check(key, most)
            _check(each, most)
    else:
        _check_fields(value, most)


def _check_fields(record: Any, most: int) -> None:
    """Of a dataclass with slots, which all records are."""
    kind = type(record)
    if kind is ModuleResult and not record.verdict.is_final:
        raise ValueError(f"a result cannot be {record.verdict.value}")
    if kind is Counts and most == MOST_RECEIVED:
        most = _MOST_TESTS_RECEIVED
    elif kind is Digests or kind is PingReply:
        most = _MOST_OF_A_DIGEST
    for name in record.__slots__:
        value = getattr(record, name)
        kind = type(value)  # most are plain, and this is done for every record that is sent or stored
        if kind is str:
            if not value.isascii():
                value.encode()
        elif kind is int:
            if not 0 <= value <= most:
                raise ValueError(f"a number is not in 0 to {most}")
        elif kind is float:
            if not 0.0 <= value < math.inf:
                raise ValueError("a time is negative or not finite")
        elif value and kind is not Verdict:  # nothing is wrong with what is empty
            _check(value, most)


def pack_tests(tests: tuple[TestResult, ...]) -> bytes:
    """Tests' outcomes are mostly repeated text: packed they take a tenth. Raises MalformedError, as `encode`."""
    return zlib.compress(encode(TESTS, tests), 1)


def unpack_tests(data: bytes) -> tuple[TestResult, ...]:
    return TESTS.validate_json(zlib.decompress(data))
