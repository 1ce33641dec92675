"""Records to JSON and back, checked: for the disk and for messages between nodes."""

import zlib
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from testmesh.errors import MalformedError
from testmesh.model import Evaluation, TestResult

T = TypeVar("T")

EVALUATION: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
TESTS: TypeAdapter[tuple[TestResult, ...]] = TypeAdapter(tuple[TestResult, ...])


def decode(adapter: TypeAdapter[T], data: bytes | str) -> T:
    """Raises MalformedError for anything that is not this record."""
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise MalformedError(f"The message is not what this node understands: {error.errors()[0]['msg']}.") from None


def encode(adapter: TypeAdapter[Any], record: object) -> bytes:
    return adapter.dump_json(record)


def pack_tests(tests: tuple[TestResult, ...]) -> bytes:
    """Tests' outcomes are mostly repeated text: packed they take a tenth."""
    return zlib.compress(TESTS.dump_json(tests), 1)


def unpack_tests(data: bytes) -> tuple[TestResult, ...]:
    return TESTS.validate_json(zlib.decompress(data))
