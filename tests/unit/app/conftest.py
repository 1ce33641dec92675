from pathlib import Path

import pytest
from flask.testing import FlaskClient

from testmesh.app.factory import create_app
from testmesh.clock import FakeClock
from testmesh.settings import Settings
from tests.support.fake_node import FakeNode


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def node(incoming: Path) -> FakeNode:
    return FakeNode(incoming)


@pytest.fixture
def client(node: FakeNode, tmp_path: Path) -> FlaskClient:
    return create_app(node, Settings(data_dir=tmp_path, max_upload=1024 * 1024), clock=FakeClock()).test_client()
