"""A module that may use a fixed port is told from what it says and what it can import."""

import pytest

from testmesh.testing.modules import Allowance
from testmesh.testing.ports import port_users
from testmesh.testing.tree import MemoryTree

PLENTY = 10_000_000


def users(files: dict[str, str], *modules: str, allowance: int = PLENTY) -> set[str]:
    tree = MemoryTree({path: content.encode() for path, content in files.items()})
    return set(port_users(tree, modules, Allowance(allowance)))


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "from socket import socket",
        "import socketserver",
        "import http.server",
        "def test_a():\n    import subprocess",
        "from multiprocessing import Process",
        "import asyncio\nasyncio.start_server",
        "URL = 'http://localhost:5000'",
        "HOST = '127.0.0.1'",
        "import os\nos.system('python3 server.py')",
        "import flask",
        "import zmq, math",
        "from aiohttp import web",
        "import importlib\nimportlib.import_module('server')",
        "exec(open('server.py').read())",
        "import math; import unheard_of",
        "import pytest, \\\n  unheard_of",
        "try:\n  from unheard_of import (\n a, # one\n b)\nexcept ImportError: pass",
    ],
)
def test_what_may_use_a_port_is_a_yes(source: str) -> None:
    assert users({"test_a.py": source}, "test_a.py") == {"test_a.py"}


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import pytest\ndef test_a(): assert 1 + 1 == 2",
        "import math, os.path, json as j\nfrom collections import (deque,\n  Counter)\nfrom hypothesis import given",
        "from src.calc import add",
        "from calc import *",
        "import threading\nfrom . import helper",
    ],
)
def test_what_can_not_is_a_no(source: str) -> None:
    files = {"src/calc.py": "import math", "tests/helper.py": "", "tests/__init__.py": "", "tests/test_a.py": source}
    assert users(files, "tests/test_a.py") == set()


@pytest.mark.parametrize(
    ("source", "server"),
    [
        ("import server", "server.py"),
        ("import server", "src/server.py"),
        ("from src import server", "src/server.py"),
        ("from src.deep import (\n  a,\n  server,\n)", "src/deep/server.py"),
        ("from src.deep.server import run", "src/deep/server.py"),
        ("from src.deep import run", "src/deep/__init__.py"),
        ("import src.deep.server", "src/deep/server.py"),
        ("from .server import run", "tests/server.py"),
        ("from . import server", "tests/server.py"),
        ("from ..src import server", "src/server.py"),
        ("from src import *", "src/server.py"),
        ("from . import *", "tests/server.py"),
        ("import middle", "conftest.py"),
        ("", "tests/conftest.py"),
        ("def test_a():\n  from server import run", "lib/server.py"),
        ("if x: import server", "server.py"),
    ],
)
def test_it_is_found_in_what_the_module_imports(source: str, server: str) -> None:
    files = {"tests/test_a.py": source, "src/a.py": "", "middle.py": "", "tests/test_b.py": "import pytest"}
    assert "tests/test_a.py" not in users(files | {server: "import math"}, "tests/test_a.py")
    assert "tests/test_a.py" in users(files | {server: "import socket"}, "tests/test_a.py")


def test_it_is_found_through_a_chain_and_a_circle() -> None:
    files = {
        "test_a.py": "import a",
        "a.py": "import b",
        "b.py": "import a, c",
        "c.py": "import socket",
        "test_b.py": "",
    }
    assert users(files, "test_a.py", "test_b.py") == {"test_a.py"}


def test_a_server_that_is_not_imported_is_no_reason() -> None:
    assert users({"test_a.py": "import calc", "calc.py": "", "server.py": "import socket"}, "test_a.py") == set()


def test_beyond_the_allowance_the_answer_is_yes() -> None:
    files = {"test_a.py": "import pytest"}
    assert users(files, "test_a.py", allowance=5) == {"test_a.py"}
    assert users(files, "test_a.py", allowance=50) == set()


def test_a_name_that_is_everywhere_is_not_followed() -> None:
    files = {f"f{number}/a.py": "import a" for number in range(500)}
    assert users(files | {"test_a.py": "import a"}, "test_a.py") == {"test_a.py"}


def test_hostile_text_is_read_in_bounded_steps() -> None:
    files = {"test_a.py": "from x import (" * 20_000, "test_b.py": "import a\n" * 50_000, "a.py": ""}
    assert "test_a.py" in users(files, "test_a.py", "test_b.py")
