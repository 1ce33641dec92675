"""Every variable, what it takes, and what a wrong value is answered with."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from testmesh.errors import SettingsError
from testmesh.settings import GIB, MIB, Settings, parse_address, parse_size, settings_from

GOOD: list[tuple[str, str, Any]] = [
    ("MESH_HOST", "node-1.lan", "node-1.lan"),
    ("MESH_HOST", "[::1]", "[::1]"),
    ("MESH_PORT", "7000", 7000),
    ("MESH_ADVERTISE", "192.168.1.20:5001", "192.168.1.20:5001"),
    ("MESH_ADVERTISE", "[fe80::1]:5001", "[fe80::1]:5001"),
    ("MESH_BOOTSTRAP", "a:1", ("a:1",)),
    ("MESH_BOOTSTRAP", "a:1, node-2.lan:65535,,", ("a:1", "node-2.lan:65535")),
    ("MESH_SECRET", "a-long-secret", "a-long-secret"),
    ("MESH_API_TOKEN", "api-token", "api-token"),
    ("MESH_READ_TOKEN", "read-token", "read-token"),
    ("MESH_DATA_DIR", "/var/lib/mesh data", Path("/var/lib/mesh data")),
    ("MESH_SLOTS", "auto", None),
    ("MESH_SLOTS", "16", 16),
    ("MESH_STRATEGY", "round_robin", "round_robin"),
    ("MESH_SANDBOX", "portable", "portable"),
    ("MESH_REPLICAS", "3", 3),
    ("MESH_KEEP_EVALUATIONS", "50", 50),
    ("MESH_KEEP_DAYS", "90", 90),
    ("MESH_GITHUB_API", "http://127.0.0.1:8000/api/", "http://127.0.0.1:8000/api"),
    ("MESH_MAX_UPLOAD", "64 MiB", 64 * MIB),
    ("MESH_MAX_UNPACKED", "3g", 3 * GIB),
    ("MESH_MAX_ENTRIES", "100", 100),
    ("MESH_MAX_QUEUE", "1", 1),
    ("MESH_MODULE_TIMEOUT_MAX_S", "0.5", 0.5),
    ("MESH_MODULE_MEMORY", "1048576", MIB),
    ("MESH_MODULE_PROCESSES", "8", 8),
    ("MESH_MODULE_DISK", "1kib", 1024),
    ("MESH_ENVIRONMENTS_SIZE", "20g", 20 * GIB),
    ("MESH_ALLOW_VCS", "1", True),
    ("MESH_CALLBACK_SECRET", "callback-secret", "callback-secret"),
    ("MESH_CALLBACK_PRIVATE", "1", True),
    ("MESH_LOG", "json", "json"),
]

BAD = [
    *(("MESH_HOST", value) for value in ("a b", "http://x", "::1", "a/b")),
    *(("MESH_PORT", value) for value in ("0", "65536", "-1", "5001.0", "http", "1e3", "٣")),
    *(
        ("MESH_ADVERTISE", value)
        for value in ("host", "host:", ":5001", "host:0", "host:99999", "0.0.0.0:5001", "[::]:1")
    ),
    *(("MESH_BOOTSTRAP", value) for value in ("a", "a:1;b:2", "http://a:1", "a:1,b")),
    *(("MESH_SECRET", value) for value in ("short", "with a space", "tab\tinside")),
    *(("MESH_API_TOKEN", value) for value in ("short", "with a space")),
    *(("MESH_READ_TOKEN", value) for value in ("short", "new\nline-inside")),
    *(("MESH_CALLBACK_SECRET", value) for value in ("short", "with a space")),
    *(("MESH_CALLBACK_PRIVATE", value) for value in ("yes", "2")),
    *(("MESH_SLOTS", value) for value in ("0", "1025", "many")),
    *(("MESH_STRATEGY", value) for value in ("fastest", "LEAST_LOADED")),
    *(("MESH_SANDBOX", value) for value in ("docker", "1")),
    *(("MESH_REPLICAS", value) for value in ("0", "17", "two")),
    *(("MESH_KEEP_EVALUATIONS", value) for value in ("0", "-5")),
    *(("MESH_KEEP_DAYS", value) for value in ("0", "1.5", "unlimited")),
    *(
        ("MESH_GITHUB_API", value)
        for value in ("api.github.com", "ftp://x", "https://x?y", "https://x#y", "https://", "https://x:99999")
    ),
    *(
        (name, value)
        for name in (
            "MESH_MAX_UPLOAD",
            "MESH_MAX_UNPACKED",
            "MESH_MODULE_MEMORY",
            "MESH_MODULE_DISK",
            "MESH_ENVIRONMENTS_SIZE",
        )
        for value in ("0", "-1", "1.5g", "2 TiB", "lots", "9" * 5000)
    ),
    *(("MESH_MAX_ENTRIES", value) for value in ("0", "x")),
    *(("MESH_MAX_QUEUE", value) for value in ("0", "x")),
    *(("MESH_MODULE_TIMEOUT_MAX_S", value) for value in ("0", "-1", "nan", "inf", "1e3", "2 min")),
    *(("MESH_MODULE_PROCESSES", value) for value in ("7", "x")),
    *(("MESH_ALLOW_VCS", value) for value in ("yes", "true", "2")),
    *(("MESH_LOG", value) for value in ("xml", "JSON")),
]


def field_of(variable: str) -> str:
    return variable.removeprefix("MESH_").lower()


@pytest.mark.parametrize(("variable", "value", "expected"), GOOD)
def test_a_good_value_is_taken(variable: str, value: str, expected: Any) -> None:
    assert getattr(settings_from({variable: value}), field_of(variable)) == expected


@pytest.mark.parametrize(("variable", "value"), BAD, ids=lambda text: text[:30])
def test_a_wrong_value_gives_one_line_that_names_the_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable}=")
    assert "\n" not in message
    assert len(message) > len(variable) + len(repr(value)) or variable.endswith(("TOKEN", "SECRET"))


def test_every_setting_has_a_variable_and_is_tried_here() -> None:
    names = {field.name for field in fields(Settings)}
    assert {field_of(variable) for variable, _, _ in GOOD} == names
    assert {field_of(variable) for variable, _ in BAD} == names - {"data_dir"}, "any text is a folder"


def test_the_defaults_are_those_of_the_contract() -> None:
    assert settings_from({}) == Settings(
        host="127.0.0.1",
        port=5001,
        advertise="127.0.0.1:5001",
        bootstrap=(),
        data_dir=Path("data/127.0.0.1_5001").absolute(),
        slots=None,
        strategy="least_loaded",
        sandbox="auto",
        replicas=2,
        keep_evaluations=1000,
        github_api="https://api.github.com",
        max_upload=512 * MIB,
        max_unpacked=2 * GIB,
        max_entries=20_000,
        max_queue=200,
        module_timeout_max_s=900.0,
        module_memory=2 * GIB,
        module_processes=256,
        module_disk=GIB,
        environments_size=10 * GIB,
        allow_vcs=False,
        log="text",
    )


def test_what_depends_on_host_and_port_follows_them() -> None:
    found = settings_from({"MESH_HOST": "10.0.0.7", "MESH_PORT": "7000"})
    assert found.advertise == "10.0.0.7:7000"
    assert found.data_dir == Path("data/10.0.0.7_7000").absolute()
    assert found.evaluations_file == found.data_dir / "evaluations_10.0.0.7_7000.json"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_who_listens_on_all_addresses_must_say_which_one_peers_use(host: str) -> None:
    with pytest.raises(SettingsError, match="MESH_ADVERTISE"):
        settings_from({"MESH_HOST": host})
    assert settings_from({"MESH_HOST": host, "MESH_ADVERTISE": "10.0.0.7:5001"}).advertise == "10.0.0.7:5001"


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("variable", [variable for variable, _, _ in GOOD])
def test_an_empty_value_is_the_default(variable: str, value: str) -> None:
    assert settings_from({variable: value}) == settings_from({})


@pytest.mark.parametrize("variable", ["MESH_PROT", "MESH_", "MESH_secret", "MESH_EVALUATIONS_FILE"])
def test_an_unknown_variable_is_refused_by_name(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is not a setting"):
        settings_from({variable: "1"})


def test_other_variables_do_not_matter() -> None:
    assert settings_from({"PATH": "/bin", "XMESH_PORT": "1", "HOST_REAL_IP": "x"}) == settings_from({})


@pytest.mark.parametrize("variable", ["MESH_SECRET", "MESH_API_TOKEN", "MESH_READ_TOKEN"])
@pytest.mark.parametrize("value", ["hunter2", "hunter2 with a space"])
def test_a_secret_that_is_refused_is_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({variable: value})
    assert "hunter2" not in str(caught.value)


def test_a_password_in_a_url_that_is_refused_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({"MESH_GITHUB_API": "https://user:hunter2@github.example.org"})
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_text_of_the_settings() -> None:
    found = settings_from({f"MESH_{name}": "hunter2hunter2" for name in ("SECRET", "API_TOKEN", "READ_TOKEN")})
    assert "hunter2" not in repr(found)
    assert "hunter2" not in str(found)


def test_settings_never_change() -> None:
    with pytest.raises(FrozenInstanceError):
        settings_from({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["a:1", "10.0.0.1:65535", "[::1]:80", "a_b-c.d:5001"])
def test_addresses(text: str) -> None:
    assert parse_address(text) == text


@pytest.mark.parametrize(
    "text", ["", "a", ":1", "a:", "a:0", "a:65536", "a:1 ", " a:1", "a:1\n", "a:b", "::1:80", "a/b:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1b", 1),
        ("2k", 2048),
        ("2 KiB", 2048),
        ("3M", 3 * MIB),
        ("3mib", 3 * MIB),
        ("1G", GIB),
        ("1 GiB", GIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
