"""Installing that runs foreign code: what it may change and see, and that its folders are the node's again."""

import os
import socket
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from typing import NoReturn, cast

import pytest

from testmesh.errors import InfrastructureError
from testmesh.testing.box_process import BoxError
from testmesh.testing.boxed_command import BoxedCommandRunner
from testmesh.testing.boxes import Boxes, environment_folders
from testmesh.testing.cancellation import Cancellation
from testmesh.testing.run_command import Completed
from tests.support.boxes import BoxesOf, reachable_python
from tests.support.projects import wait_until


class Installs:
    def __init__(self, boxes_of: BoxesOf, level: str, place: Path) -> None:
        self.runner = BoxedCommandRunner(boxes_of(level))
        self.attempt = place / "attempt"
        self.env, self.work = self.attempt / "env", self.attempt / "work"
        for folder in (self.env, self.work):
            folder.mkdir(parents=True)

    def run(self, script: str, timeout: float = 60.0, cancellation: Cancellation | None = None) -> Completed:
        python = reachable_python()
        return self.runner(
            [str(python), "-I", "-S", "-c", script],
            {"HOME": str(self.work)},
            self.work,
            timeout,
            writable=(self.env, self.work),
            readable=tuple(map(Path, environment_folders(python))),
            foreign=True,
            cancellation=cancellation,
        )


@pytest.fixture(params=["full", "portable"])
def installs(request: pytest.FixtureRequest, boxes_of: BoxesOf, place: Path) -> Installs:
    return Installs(boxes_of, request.param, place)


def test_what_it_writes_is_there_and_the_nodes_own(installs: Installs) -> None:
    made = [str(installs.env / path) for path in ("a/b", "a/b/c")]
    script = f"import os; os.makedirs({made[0]!r}); open({made[1]!r}, 'w').write('x')"
    assert installs.run(script) == Completed(0, "")
    found = [installs.env / path for path in ("a", "a/b", "a/b/c")]
    assert [(path.stat().st_uid, path.stat().st_gid) for path in found] == [(os.geteuid(), os.getegid())] * 3


def test_it_changes_nothing_else_and_sees_no_secret(installs: Installs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", "a-canary-of-the-node")
    (installs.attempt / "neighbour").write_text("a-canary-of-the-node")
    done = installs.run(
        f"""
import os
for path in ({str(installs.attempt)!r} + "/made", "/usr/made", "/etc/made"):
    try: open(path, "w").close(); print("wrote", path)
    except OSError: pass
for path in ({str(installs.attempt / "neighbour")!r}, "/etc/shadow", "/proc/{os.getpid()}/environ"):
    try: print(open(path, "rb").read())
    except OSError: pass
print(sorted(os.environ))
"""
    )
    assert done.returncode == 0
    assert "wrote /usr" not in done.output
    assert "wrote /etc" not in done.output
    assert sorted(path.name for path in installs.attempt.iterdir()) == ["env", "neighbour", "work"]
    assert "a-canary" not in done.output
    assert "MESH_SECRET" not in done.output


def test_it_has_network(installs: Installs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        assert installs.run(script).returncode == 0


def test_its_words_and_its_end_are_told(installs: Installs) -> None:
    done = installs.run("import sys; print('out'); print('no such version', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.timed_out) == (3, False)
    assert "out" in done.output
    assert "no such version" in done.output


def test_too_much_time_is_told(installs: Installs) -> None:
    assert installs.run("import time; time.sleep(600)", timeout=0.5).timed_out


def test_it_ends_at_once_when_it_is_cancelled(installs: Installs) -> None:
    cancellation, marker = Cancellation(), installs.work / "here"
    raised: list[BaseException] = []

    def run() -> None:
        try:
            installs.run(f"import time; open({str(marker)!r}, 'w').close(); time.sleep(600)", 300.0, cancellation)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(marker.exists, "it runs")
    cancellation.cancel()
    thread.join(30)
    assert len(raised) == 1


def test_what_is_cancelled_does_not_begin(installs: Installs) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        installs.run(f"open({str(installs.work / 'here')!r}, 'w')", cancellation=cancellation)
    assert not (installs.work / "here").exists()


DEEP = """
import os
os.chdir({folder!r})
for _ in range({levels}):
    os.mkdir({name!r}); os.chdir({name!r})
"""


@pytest.mark.parametrize(("levels", "name"), [(1500, "d"), (30, "d" * 250)])
@pytest.mark.parametrize("place_of", ["env", "work"])
def test_folders_of_any_depth_are_the_nodes_own_again(
    installs: Installs, place_of: str, levels: int, name: str
) -> None:
    folder = getattr(installs, place_of)
    assert installs.run(DEEP.format(folder=str(folder), levels=levels, name=name)) == Completed(0, "")
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    owner = os.fstat(here).st_uid
    os.close(here)
    assert owner == os.geteuid()
    assert installs.run("pass") == Completed(0, "")


SPOILED = {
    "missing": "os.remove(program)",
    "junk": "open(program, 'w').write('x')",
    "no program": "open(program, 'wb').write(b'\\x7fELF' + bytes(200)); os.chmod(program, 0o755)",
    "loop": "os.remove(program); os.symlink('python', program)",
    "folder": "os.remove(program); os.mkdir(program)",
    "nowhere": "os.remove(program); os.symlink('/nowhere/python', program)",
    "no bin": "os.remove(program); os.rmdir(os.path.dirname(program))",
    "closed": "os.chmod(os.path.dirname(program), 0)",
    "no working folder": "os.chmod(os.path.dirname(os.path.dirname(os.path.dirname(program))) + '/work', 0)",
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_command_that_an_earlier_one_spoiled_ends_with_status_127(installs: Installs, how: str) -> None:
    """A project must not have its installation taken for a failure of the node."""
    program = installs.env / "bin" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)

    def run() -> int:
        return installs.runner([str(program)], {}, installs.work, 60, writable=(installs.env, installs.work)).returncode

    assert run() == 3
    assert installs.run(f"import os; program = {str(program)!r}; {SPOILED[how]}").returncode == 0
    assert run() == 127


def test_a_command_of_the_nodes_own_that_is_not_there_is_the_nodes_fault(installs: Installs) -> None:
    with pytest.raises(InfrastructureError):
        installs.runner(["/nowhere/at/all"], {}, installs.attempt, 60, writable=(installs.env, installs.work))


def test_after_its_close_nothing_is_started(installs: Installs) -> None:
    installs.runner.close()
    with pytest.raises(InfrastructureError, match="stopping"):
        installs.run(f"open({str(installs.work / 'here')!r}, 'w')")
    assert not (installs.work / "here").exists()
    assert installs.work.stat().st_uid == os.geteuid()


class NeverEnding:
    """Boxes whose processes cannot be killed."""

    def __init__(self, boxes: Boxes) -> None:
        self.level = boxes.level
        self.new_name, self.user = boxes.new_name, boxes.user

    def start(self, *_: object, **__: object) -> "NeverEnding":
        return self

    def follow(self, _: object) -> NoReturn:
        raise BoxError("its processes do not end", None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to runs")
def test_folders_of_what_may_still_live_are_not_taken_back(installs: Installs, boxes_of: BoxesOf) -> None:
    """Who still writes there could have the node give it another user's files."""
    installs.runner = BoxedCommandRunner(cast("Boxes", NeverEnding(boxes_of("full"))))
    with pytest.raises(BoxError):
        installs.run("pass")
    assert installs.env.stat().st_uid != os.geteuid()
