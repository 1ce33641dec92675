"""Real process trees: what they use, and that none outlives the sweep, however it forks."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testmesh.testing.process_tree import Usage, descendants, proportional_memory, usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1024 * 1024
HEADER = f"import os, mmap, signal, sys, threading, time\nsys.path.append({str(Path(__file__).parents[3] / 'src')!r})\n"


@contextlib.contextmanager
def program(text: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that prints a line when it is ready and lives until its standard input ends; its tree dies with it."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HEADER + text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


READY = "print('ready', flush=True); sys.stdin.read()\n"
FORKED = f"if os.fork() == 0:\n    sys.stdin.read(); os._exit(0)\n{READY}"


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def without_children(tmp_path: Path) -> str:
    """A /proc as of a kernel without lists of children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            (tmp_path / entry.name).mkdir()
            for name in ("stat", "status"):
                (tmp_path / entry.name / name).symlink_to(entry / name)
    return str(tmp_path)


def test_processes_and_threads_are_counted_over_generations() -> None:
    tree = (
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        threading.Thread(target=sys.stdin.read, daemon=True).start()\n"
        f"        {READY}"
        "    os.waitpid(-1, 0); os._exit(0)\n"
        "os.waitpid(-1, 0)\n"
    )
    with program(tree) as process:
        found = usage(process.pid)
        assert (found.processes, found.tasks) == (3, 4)
        child, grandchild = descendants(process.pid)
        assert descendants(child) == [grandchild]


def test_children_of_other_threads_are_found() -> None:
    tree = (
        "def fork():\n"
        "    if os.fork() == 0:\n"
        "        sys.stdin.read(); os._exit(0)\n"
        "    print('ready', flush=True); os.waitpid(-1, 0)\n"
        "threading.Thread(target=fork).start()\n"
    )
    with program(tree) as process:
        assert len(descendants(process.pid)) == 1


def test_a_kernel_without_lists_of_children_gives_the_same(tmp_path: Path) -> None:
    with program(FORKED) as process:
        proc = without_children(tmp_path)
        assert descendants(process.pid, proc) == descendants(process.pid)
        assert usage(process.pid, proc).processes == 2


def test_memory_is_seen_as_it_is_taken() -> None:
    with program(READY) as small, program(f"kept = bytearray(80 * {MIB})\n{READY}") as large:
        assert 60 * MIB < usage(large.pid).memory - usage(small.pid).memory < 100 * MIB


def test_shared_anonymous_memory_is_seen() -> None:
    filled = f"kept = mmap.mmap(-1, 80 * {MIB})\nkept.write(bytes(80 * {MIB}))\n{READY}"
    with program(READY) as small, program(filled) as large:
        assert usage(large.pid).memory - usage(small.pid).memory > 60 * MIB
        assert proportional_memory(large.pid) - proportional_memory(small.pid) > 60 * MIB


def test_files_that_are_mapped_are_not_charged(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(80 * MIB))
    mapped = f"kept = mmap.mmap(os.open({str(tmp_path / 'file')!r}, 0), 0, prot=mmap.PROT_READ)\nkept.find(b'x')\n"
    with program(mapped + READY) as process:
        assert usage(process.pid).memory < 60 * MIB
        assert proportional_memory(process.pid) < 60 * MIB


def test_pages_that_forked_processes_share_count_once_in_the_exact_figure() -> None:
    with program(f"kept = bytearray(80 * {MIB})\n{FORKED}") as process:
        assert usage(process.pid).memory > 150 * MIB
        assert 70 * MIB < proportional_memory(process.pid) < 120 * MIB


def test_where_the_exact_figure_may_not_be_read_the_other_one_is_taken(tmp_path: Path) -> None:
    with program(FORKED) as process:
        assert proportional_memory(process.pid, without_children(tmp_path)) == usage(process.pid).memory


def test_processor_time_is_that_of_the_living_and_of_the_waited_for() -> None:
    burn = "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    waited = f"if os.fork() == 0:\n{''.join('    ' + line + chr(10) for line in burn.splitlines())}    os._exit(0)\n"
    with program(burn + waited + "os.wait()\n" + READY) as process:
        assert 0.55 < usage(process.pid).cpu_s < 30


def test_what_is_gone_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    found = usage(process.pid)
    assert (found.processes, found.tasks, found.memory, found.cpu_s) == (0, 0, 0, 0.0)
    assert descendants(process.pid) == []
    assert proportional_memory(process.pid) == 0


def test_an_ended_process_that_was_not_waited_for_is_no_error() -> None:
    with program("if os.fork() == 0:\n    os._exit(0)\n" + READY) as process:
        (child,) = descendants(process.pid)
        wait_for(lambda: b") Z " in Path(f"/proc/{child}/stat").read_bytes())
        assert usage(process.pid).processes == 2
        assert 0 < proportional_memory(process.pid) < 100 * MIB


def test_a_tree_that_changes_all_the_time_can_be_looked_at() -> None:
    churn = (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 60\n"
        "while time.monotonic() < end:\n"
        "    if os.fork() == 0: os._exit(0)\n"
    )
    with program(churn) as process:
        for _ in range(100):
            found: Usage = usage(process.pid)
            assert found.processes >= 1
            assert found.tasks >= found.processes
            descendants(process.pid)
            proportional_memory(process.pid)


# The sweep -----------------------------------------------------------------------------------

SWEEP = """
from testmesh.testing.namespaces import adopt_orphans
from testmesh.testing.process_tree import kill_descendants
adopt_orphans()
reading, writing = os.pipe()
os.set_blocking(writing, False)
def tell():
    try: os.write(writing, b"x")
    except BlockingIOError: pass
def hostile():
{hostile}
for _ in range(2):
    if os.fork() == 0:
        try: hostile()
        finally: os._exit(0)
for _ in range({told}):
    os.read(reading, 1)
kill_descendants()
try: os.waitpid(-1, 0); print("left")
except ChildProcessError: print("none")
"""
FOR_SOME_TIME = "end = time.monotonic() + 60\nwhile time.monotonic() < end:\n    tell()\n"
HOSTILE = {
    "sleep": ("tell(); sys.stdin.read()", 2),
    "have sessions of their own": ("if os.fork() == 0: os.setsid(); tell()\nsys.stdin.read()", 2),
    "are orphans": ("if os.fork() == 0: tell(); sys.stdin.read()", 2),
    "are stopped": ("tell(); os.kill(os.getpid(), signal.SIGSTOP)", 2),
    "are deaf": ("for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\ntell(); sys.stdin.read()", 2),
    "fork and end all the time": (FOR_SOME_TIME + "    if os.fork(): os._exit(0)", 50),
    "fork without waiting": (FOR_SOME_TIME + "    if os.fork() == 0: time.sleep(0.1); os._exit(0)", 50),
}


@pytest.mark.parametrize(("hostile", "told"), HOSTILE.values(), ids=HOSTILE)
def test_the_sweep_leaves_no_process_of_those_that(hostile: str, told: int) -> None:
    indented = "".join(f"    {line}\n" for line in hostile.splitlines())
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HEADER + SWEEP.format(hostile=indented, told=told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.read() == "none\n"  # its end: no process that inherited it is left
        assert process.wait() == 0
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_sweep_returns_where_there_is_nothing_to_kill(tmp_path: Path) -> None:
    sweep = "from testmesh.testing.process_tree import kill_descendants\nkill_descendants()\n"
    nowhere = f"os.fork() == 0 and (sys.stdin.read(), os._exit(0))\nkill_descendants({str(tmp_path)!r})\n"
    with program(sweep + nowhere + READY) as process:
        assert len(descendants(process.pid)) == 1
