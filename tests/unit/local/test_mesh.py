from pathlib import Path

import pytest

from testmesh.local import nginx
from testmesh.local.address import is_port_free, routed_address
from testmesh.local.errors import LocalError
from testmesh.local.mesh import LocalMesh, Plan
from testmesh.local.nginx import local_configuration
from tests.support.checkout import REPOSITORY, checkout

DEFAULT_CONF = (REPOSITORY / "default.conf").read_text()


def test_the_local_configuration_is_default_conf_with_other_nodes_and_port() -> None:
    text = local_configuration(DEFAULT_CONF, 8080, ["127.0.0.1:1", "127.0.0.1:2"])
    assert text.count("    server 127.0.0.1:") == 2
    assert "    server 127.0.0.1:2 max_fails=1" in text
    assert "    listen 8080;" in text
    assert "cnode" not in text
    same = local_configuration(DEFAULT_CONF, 80, [f"cnode{number}:500{number}" for number in range(1, 5)])
    assert same == DEFAULT_CONF


def test_a_default_conf_that_cannot_be_filled_in_is_refused() -> None:
    with pytest.raises(LocalError, match="one listen line"):
        local_configuration("server { }", 80, ["127.0.0.1:1"])


@pytest.mark.parametrize("nginx_of_machine", ["missing", "broken"])
def test_without_nginx_the_first_node_is_the_entrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nginx_of_machine: str
) -> None:
    monkeypatch.setattr(nginx, "find_nginx", lambda: "/bin/false" if nginx_of_machine == "broken" else None)
    said: list[str] = []
    with checkout(tmp_path / "clone") as clone:
        mesh = LocalMesh(clone.path, clone.environ(), said.append)
        try:
            plan = Plan(nodes=1, first_port=clone.first_port)
            assert mesh.up(plan, fresh=False) == clone.first_port
        finally:
            mesh.down()
    reason = "Nginx does not start" if nginx_of_machine == "broken" else "Nginx is not installed"
    assert any(reason in line and f"the node on {clone.first_port} is the entrance" in line for line in said)


def test_a_port_in_use_is_not_free() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_port_free(port)
    assert is_port_free(port)


def test_the_address_is_one_of_this_machine() -> None:
    assert routed_address("127.0.0.1") == "127.0.0.1"
    assert routed_address("not an address") == "127.0.0.1"
