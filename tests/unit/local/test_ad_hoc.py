from pathlib import Path

import pytest

from testmesh.local import ad_hoc
from testmesh.local.ad_hoc import Request, parse, plan_environ
from testmesh.local.errors import LocalError
from testmesh.local.run_folder import RunFolder
from testmesh.settings import settings_from

ROUTES = {"192.168.1.20": "192.168.1.9", "192.0.2.1": "10.0.0.5"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(ad_hoc, "routed_address", lambda towards="192.0.2.1": ROUTES[towards])
    monkeypatch.setattr("testmesh.local.health.node_address", lambda _port: None)
    folder = RunFolder(tmp_path / ".run")
    folder.prepare()
    return folder


@pytest.mark.parametrize(
    ("arguments", "request_", "process"),
    [
        (["5001"], Request(5001), False),
        (["--process", "5001"], Request(5001), True),
        (["5002", "5001", "--process"], Request(5002, None, 5001), True),
        (["5003", "192.168.1.20", "5001"], Request(5003, "192.168.1.20", 5001), False),
    ],
)
def test_the_three_ways_to_call_it(arguments: list[str], request_: Request, process: bool) -> None:
    assert parse(arguments) == (request_, process)


@pytest.mark.parametrize(
    "arguments", [[], ["0"], ["5001", "host"], ["5001", "h", "i", "5001"], ["x"], ["5001", "70000"]]
)
def test_other_ways_end_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2


def test_a_new_mesh_has_no_bootstrap_and_a_new_secret(run: RunFolder) -> None:
    environ = plan_environ(Request(5001), run, {"PATH": "/bin"})
    settings = settings_from(environ)
    assert (settings.host, settings.advertise, settings.bootstrap) == ("0.0.0.0", "10.0.0.5:5001", ())
    assert settings.secret == run.secret()
    assert environ["PATH"] == "/bin"


def test_a_remote_mesh_is_joined_by_the_address_routed_to_it(run: RunFolder) -> None:
    settings = settings_from(plan_environ(Request(5003, "192.168.1.20", 5001), run, {"MESH_SECRET": "long-enough"}))
    assert settings.advertise == "192.168.1.9:5003"
    assert settings.bootstrap == ("192.168.1.20:5001",)
    assert settings.secret == "long-enough"


def test_a_local_mesh_is_joined_by_the_address_its_node_goes_by(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.make_secret()
    monkeypatch.setattr("testmesh.local.health.node_address", lambda _port: "192.168.1.20:5001")
    settings = settings_from(plan_environ(Request(5002, None, 5001), run, {}))
    assert settings.bootstrap == ("192.168.1.20:5001",)
    assert settings.advertise == "192.168.1.9:5002"
    assert settings.secret == run.secret()


def test_a_local_node_that_is_not_up_yet_is_tried_at_this_machine_s_address(run: RunFolder) -> None:
    run.make_secret()
    settings = settings_from(plan_environ(Request(5002, None, 5001), run, {"HOST_REAL_IP": "10.9.9.9"}))
    assert settings.bootstrap == ("10.9.9.9:5001",)
    assert settings.advertise == "10.9.9.9:5002"


def test_joining_without_the_secret_says_where_it_is(run: RunFolder) -> None:
    with pytest.raises(LocalError, match="MESH_SECRET"):
        plan_environ(Request(5003, "192.168.1.20", 5001), run, {})
    assert run.secret() is None


def test_two_nodes_of_one_checkout_have_data_of_their_own(run: RunFolder) -> None:
    folders = {settings_from(plan_environ(Request(port), run, {})).data_dir for port in (5001, 5002)}
    assert len(folders | {run.node_data(5001)}) == 3
