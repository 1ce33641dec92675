import base64
import threading
from pathlib import Path

import pytest

from testmesh.errors import InfrastructureError
from testmesh.sealing import node_key, seal, unseal

SECRET, TOKEN, CONTEXT = "the mesh secret", "ghp_canary0123456789", "evaluation-1"


@pytest.mark.parametrize("text", [TOKEN, "", "ção €", "x" * 10_000])
def test_what_was_sealed_opens_with_the_same_secret_and_context(text: str) -> None:
    assert unseal(SECRET, seal(SECRET, text, CONTEXT), CONTEXT) == text


def test_a_sealed_token_shows_nothing_of_it_and_is_new_every_time() -> None:
    first, second = (seal(SECRET, TOKEN, CONTEXT) for _ in range(2))

    assert first != second
    raw = base64.urlsafe_b64decode(first.removeprefix("v1."))
    assert TOKEN.encode() not in raw
    assert first.isascii()


@pytest.mark.parametrize(("secret", "context"), [("another secret", CONTEXT), (SECRET, "evaluation-2"), ("", CONTEXT)])
def test_another_secret_or_evaluation_does_not_open_it(secret: str, context: str) -> None:
    sealed = seal(SECRET, TOKEN, CONTEXT)

    with pytest.raises(InfrastructureError, match="submit the evaluation again") as caught:
        unseal(secret, sealed, context)
    assert TOKEN not in repr(caught.value)


def test_no_changed_character_opens() -> None:
    sealed = seal(SECRET, TOKEN, CONTEXT)
    for index, character in enumerate(sealed):
        changed = sealed[:index] + ("A" if character != "A" else "B") + sealed[index + 1 :]
        with pytest.raises(InfrastructureError):
            unseal(SECRET, changed, CONTEXT)


@pytest.mark.parametrize("damaged", ["", "v1.", "v1.AAAA", "v2.AAAA", "v1.!!!", "v1.€", TOKEN, "v1." + "A" * 400])
def test_damage_is_refused(damaged: str) -> None:
    with pytest.raises(InfrastructureError):
        unseal(SECRET, damaged, CONTEXT)


def test_a_cut_seal_is_refused() -> None:
    sealed = seal(SECRET, TOKEN, CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(InfrastructureError):
            unseal(SECRET, sealed[:length], CONTEXT)


def test_a_node_makes_its_key_once_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "node"

    first = node_key(folder)

    assert node_key(folder) == first
    assert len(first) == 64
    assert [path.name for path in folder.iterdir()] == ["node.key"]


def test_the_key_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    node_key(tmp_path)

    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_closed_again(tmp_path: Path) -> None:
    key = node_key(tmp_path)
    (tmp_path / "node.key").chmod(0o644)

    assert node_key(tmp_path) == key
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600


def test_two_nodes_have_two_keys(tmp_path: Path) -> None:
    assert node_key(tmp_path / "a") != node_key(tmp_path / "b")


def test_threads_that_start_together_get_one_key(tmp_path: Path) -> None:
    together, keys = threading.Barrier(8), []

    def read() -> None:
        together.wait()
        keys.append(node_key(tmp_path))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["node.key"]


@pytest.mark.parametrize("content", ["", "short", "g" * 64, "a" * 63, "\0" * 65, None])
def test_a_damaged_key_is_set_aside_and_another_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    if content is None:
        (tmp_path / "node.key").mkdir()
    else:
        (tmp_path / "node.key").write_text(content)

    key = node_key(tmp_path)

    assert len(key) == 64
    assert node_key(tmp_path) == key
    aside = tmp_path / "node.key.damaged"
    assert aside.is_dir() if content is None else aside.read_text() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(InfrastructureError, match="MESH_DATA_DIR"):
        node_key(tmp_path / "data")
