"""Peers of earlier runs are found again, whatever became of the file, and however long they were away."""

import json
import threading
from pathlib import Path

import pytest

from testmesh.node.membership import known_peers as module
from testmesh.node.membership.known_peers import KnownPeers, Reunion
from tests.support.waiting import until

ME = "10.0.0.1:5001"


def peer(number: int) -> str:
    return f"10.0.1.{number % 250}:{6000 + number}"


def test_what_was_added_is_there_after_a_restart_but_the_node_itself(tmp_path: Path) -> None:
    known = KnownPeers(tmp_path / "peers.json", ME)
    known.add(peer(1))
    known.add(peer(2))
    known.add(ME)
    known.stop()
    assert KnownPeers(tmp_path / "peers.json", ME).addresses() == {peer(1), peer(2)}


def test_there_need_be_no_file(tmp_path: Path) -> None:
    assert KnownPeers(tmp_path / "peers.json", ME).addresses() == frozenset()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b'["10.0.', b"{}", b"3", b'[["a:1"]]', b'["no address"]', b"\xff\xfe\0", b"[" * 9000]
)
def test_a_damaged_file_is_set_aside_and_the_node_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    file = tmp_path / "peers.json"
    file.write_bytes(content)
    known = KnownPeers(file, ME)
    assert known.addresses() == frozenset()
    assert (tmp_path / "peers.json.damaged").read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    known.add(peer(1))
    known.stop()
    assert json.loads(file.read_text()) == [peer(1)]


def test_a_folder_in_its_place_is_set_aside_too_and_again(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    for _ in range(2):
        (file / "inside").mkdir(parents=True)
        assert KnownPeers(file, ME).addresses() == frozenset()
        assert not file.exists()
    known = KnownPeers(file, ME)
    known.add(peer(1))
    known.stop()
    assert file.is_file()


def test_the_list_is_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    known = KnownPeers(tmp_path / "peers.json", ME)
    for number in range(module._MOST):
        known.add(peer(number))
    known.add(peer(0))  # it joined again: not the oldest any more
    known.add(peer(9999))
    known.stop()
    for found in (known, KnownPeers(tmp_path / "peers.json", ME)):
        assert len(found.addresses()) == module._MOST
        assert {peer(0), peer(2), peer(9999)} <= found.addresses()
        assert peer(1) not in found.addresses()


def test_a_disk_that_takes_nothing_is_told_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = KnownPeers(tmp_path / "missing" / "peers.json", ME)
    known.add(peer(1))
    known.stop()
    assert known.addresses() == {peer(1)}
    assert "could not write" in caplog.text


def test_nobody_waits_for_a_disk_that_stands_still_and_what_comes_meanwhile_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[list[str]] = []
    begun, moves = threading.Event(), threading.Event()
    write_text = Path.write_text

    def slow(path: Path, content: str, encoding: str) -> int:
        writes.append(json.loads(content))
        begun.set()
        assert moves.wait(30)
        return write_text(path, content, encoding)

    monkeypatch.setattr(Path, "write_text", slow)
    known = KnownPeers(tmp_path / "peers.json", ME)
    known.add(peer(1))
    assert begun.wait(30)
    for number in range(2, 9):
        known.add(peer(number))
    assert len(known.addresses()) == 8
    assert not (tmp_path / "peers.json").exists()
    moves.set()
    known.stop()
    everybody = [peer(number) for number in range(1, 9)]
    assert writes == [[peer(1)], everybody]
    assert json.loads((tmp_path / "peers.json").read_text()) == everybody


class TestReunion:
    def test_those_who_are_away_are_asked_each_in_its_turn_for_ever(self) -> None:
        asked: list[str] = []
        reunion = Reunion(lambda: {"a:1", "b:1", "c:1", "d:1"}, lambda: {"b:1"}, asked.extend)
        for _ in range(7):
            reunion.ask_next()
        assert asked == ["a:1", "c:1", "d:1", "a:1", "c:1", "d:1", "a:1"]

    def test_where_all_are_there_nobody_is_asked(self) -> None:
        asked: list[str] = []
        Reunion(lambda: {"a:1"}, lambda: {"a:1", "b:1"}, asked.extend).ask_next()
        assert asked == []

    def test_the_thread_goes_on_after_an_error_and_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_ASK_S", 0.01)
        asked: list[str] = []

        def join_through(addresses: object) -> None:
            asked.append("x")
            raise RuntimeError("unforeseen")

        reunion = Reunion(lambda: {"a:1"}, lambda: (), join_through)
        reunion.start()
        until(lambda: len(asked) > 2)
        reunion.stop()
        reunion._thread.join(20)
        assert not reunion._thread.is_alive()
