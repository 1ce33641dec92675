"""A box: its limits, its file system, its network, and that nothing of it is left; at every level of this machine."""

import json
import os
import signal
import socket
import textwrap
import threading
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testmesh.model import Service
from testmesh.settings import MIB
from testmesh.testing.box_process import BoxEnd, BoxError
from testmesh.testing.box_request import BoxCommand, BoxLimits
from testmesh.testing.boxes import Boxes, environment_folders
from testmesh.testing.cancellation import Cancellation
from tests.support.boxes import BoxesOf, reachable_python
from tests.support.projects import processes_with, wait_until

SMALL = BoxLimits(memory=100 * MIB, processes=40, disk=16 * MIB)


class Scripts:
    """Runs Python scripts in boxes. `code` is the folder that they find as their own."""

    def __init__(self, boxes: Boxes, place: Path) -> None:
        self.boxes, self.place = boxes, place
        self.code = place / "code"
        self.code.mkdir()

    def run(
        self, script: str, limits: BoxLimits | None = None, cancellation: Cancellation | None = None, **changed: Any
    ) -> BoxEnd:
        in_box = self.boxes.level.sandbox == "full"
        (self.code / "script.py").write_text(textwrap.dedent(script))
        python = reachable_python()
        command = BoxCommand(
            name=self.boxes.new_name(),
            argv=(str(python), "-I", "-S", "script.py"),
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            cwd="/box/code/code" if in_box else str(self.code),
            timeout_s=60.0,
            read=environment_folders(python),
            write=() if in_box else (str(self.code),),
            code=(str(self.code), "code") if in_box else None,
            watched_folder=None if in_box else str(self.code),
        )
        with self.boxes.user() as uid:
            if uid is not None and not in_box:
                os.chown(self.code, uid, uid)
            box = self.boxes.start(replace(command, **changed), uid=uid, limits=limits)
            return box.follow(cancellation or Cancellation())


@pytest.fixture
def scripts(level_boxes: Boxes, place: Path) -> Scripts:
    return Scripts(level_boxes, place)


@pytest.fixture(params=["full", "portable"])
def confined(request: pytest.FixtureRequest, boxes_of: BoxesOf, place: Path) -> Scripts:
    """At the levels that promise to keep foreign code away from the machine."""
    return Scripts(boxes_of(request.param), place)


# Limits --------------------------------------------------------------------------------------


def test_more_memory_than_it_may_have_ends_a_run_and_all_it_started(confined: Scripts) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    end = confined.run(
        f"""
        import os, sys, time
        kept = []
        for _ in range(4):
            if os.fork() == 0: break
        while True:
            kept.append(bytearray(4_000_000))
            for start in range(0, 4_000_000, 4096): kept[-1][start] = 1
            if len(kept) > 40: time.sleep(600)  # {mark}
        """,
        SMALL,
    )
    assert end.over_limit == "memory"
    assert end.exit_code != 0
    assert processes_with(mark) == []


def test_one_process_cannot_reserve_far_more_memory_than_it_may_have(confined: Scripts) -> None:
    end = confined.run("try: bytearray(10**10)\nexcept MemoryError: print('refused')", SMALL)
    assert (end.exit_code, end.stdout) == (0, "refused\n")


def test_processes_are_refused_over_the_limit(scripts: Scripts) -> None:
    end = scripts.run(
        """
        import os, time
        made = 0
        try:
            for made in range(200):
                if os.fork() == 0: time.sleep(600)
        except OSError: pass
        print(made)
        if made == 199: time.sleep(600)  # nothing refused it: then it is found to be over
        """,
        SMALL,
    )
    assert end.over_limit == "processes" or int(end.stdout) <= SMALL.processes


def test_more_processor_time_than_twice_the_wall_time_ends_a_run(scripts: Scripts) -> None:
    end = scripts.run("import os\nfor _ in range(8): os.fork()\nwhile True: pass", timeout_s=2.0)
    assert end.over_limit == "processor time" or end.timed_out


def test_a_folder_that_is_full_takes_no_more(scripts: Scripts) -> None:
    end = scripts.run(
        """
        import time
        try:
            for number in range(400):
                with open(f"file-{number}", "wb") as file: file.write(bytes(2_000_000))
                time.sleep(0.02)
        except OSError as error: print(error.errno)
        """,
        SMALL,
    )
    assert end.over_limit == "disk" or end.stdout == "28\n"


def test_limits_of_each_process_are_set(scripts: Scripts) -> None:
    script = (
        "import resource as r; print(*(r.getrlimit(k)[0] for k in (r.RLIMIT_CORE, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE)))"
    )
    assert scripts.run(script, SMALL).stdout == f"1 4096 {SMALL.disk}\n"


# What it can reach ---------------------------------------------------------------------------


def test_nothing_of_the_node_can_be_read(confined: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", "a-canary-of-the-node")
    secret = confined.place / "secret"
    secret.write_text("a-canary-of-the-node")
    end = confined.run(
        f"""
        import glob, os, sys
        found = []
        for path in [{str(secret)!r}, "/etc/shadow", "/root/.bashrc", "/proc/1/environ", "/proc/1/mem",
                     "/proc/{os.getpid()}/environ", "/proc/{os.getpid()}/mem", "/proc/{os.getpid()}/maps",
                     *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/fd/*")]:
            if f"/{{os.getpid()}}/" in path: continue
            try: found.append((path, os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 4096)))
            except OSError: pass
        print([path for path, text in found if b"a-canary" in text or not path.startswith("/proc")])
        """
    )
    assert (end.exit_code, end.stdout) == (0, "[]\n"), end.stderr


def test_nothing_outside_its_folder_can_be_written(confined: Scripts) -> None:
    end = confined.run(
        """
        import os, sys
        own, written = (os.getcwd(), "/box", "/tmp", "/dev", "/proc"), []
        for top in ("/", "/etc", "/usr", "/usr/bin", "/var", "/root", "/home", "/opt", sys.prefix, "/run", "/sys"):
            try: open(os.path.join(top, "written-by-a-test"), "w").close(); written.append(top)
            except OSError: pass
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/etc/passwd", sys.executable):
            try: os.close(os.open(path, os.O_WRONLY)); written.append(path)
            except OSError: pass
        print(written)
        """
    )
    assert (end.exit_code, end.stdout) == (0, "[]\n"), end.stderr


def test_it_has_no_capability_and_no_way_to_one(confined: Scripts) -> None:
    end = confined.run(
        """
        import ctypes, os
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        assert all(int(status[f"Cap{kind}"], 16) == 0 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
        assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x10000000) == -1 and libc.mount(b"t", b"/tmp", b"tmpfs", 0, None) == -1
        assert os.getuid() != 0 and os.geteuid() != 0 and 0 not in os.getgroups()
        """
    )
    assert (end.exit_code, end.stderr) == (0, "")


def test_it_reaches_no_other_machine_and_no_port_of_this_one(confined: Scripts) -> None:
    if confined.boxes.level.loopback == "shared":
        pytest.skip(f"no network of its own for a run here: {confined.boxes.level.cause}")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        end = confined.run(
            f"""
            import socket
            for host in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
                try: socket.create_connection((host, {trap.getsockname()[1]}), 2).close(); print(host)
                except OSError: pass
            """
        )
        assert (end.exit_code, end.stdout) == (0, ""), end.stderr
        with pytest.raises(TimeoutError):
            trap.accept()


def test_a_run_with_network_reaches_the_loopback_of_the_machine(confined: Scripts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        end = confined.run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)", network=True)
        assert end.exit_code == 0, end.stderr


def test_a_run_can_use_what_programs_need(scripts: Scripts) -> None:
    end = scripts.run(
        """
        import multiprocessing, os, pty, signal, socket, subprocess, tempfile, threading
        from multiprocessing import shared_memory
        def square(x): return x * x
        if __name__ == "__main__":
            assert subprocess.run("echo hi | cat", shell=True, capture_output=True).stdout == b"hi\\n"
            with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(square, [1, 2]) == [1, 4]
            block = shared_memory.SharedMemory(create=True, size=10); block.close(); block.unlink()
            master, slave = pty.openpty(); assert os.isatty(slave)
            assert socket.gethostbyname("localhost") == "127.0.0.1"
            done = threading.Event(); threading.Thread(target=done.set).start(); assert done.wait(5)
            child = subprocess.Popen(["sleep", "600"]); child.send_signal(signal.SIGTERM); assert child.wait(10) == -15
            open("/dev/null", "w").write("x"); assert len(os.urandom(4)) == 4
            assert open("written", "w").write("x") == 1
        """
    )
    assert (end.exit_code, end.stderr) == (0, "")


# Its end -------------------------------------------------------------------------------------


def test_a_command_that_cannot_start_is_an_error_with_its_reason(scripts: Scripts) -> None:
    with pytest.raises(BoxError, match="/no/such/python"):
        scripts.run("", argv=("/no/such/python",))


def test_an_error_of_the_box_after_foreign_code_ran_is_not_the_nodes(boxes_of: BoxesOf, place: Path) -> None:
    """A service could be the cause, so it must not be a way to no grade."""
    scripts = Scripts(boxes_of("none"), place)
    service = Service("touch here", seconds=0.1)
    end = scripts.run("", argv=("/no/such/python",), services=(service,))
    assert end.exit_code == 127


def test_a_box_whose_outer_process_is_killed_ends(confined: Scripts) -> None:
    mark = f"mark-{uuid.uuid4().hex}"
    launcher, told = confined.boxes.launcher, {}

    def outer() -> list[str]:
        return Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()

    def run() -> None:
        try:
            confined.run("", argv=("/bin/sh", "-c", f"sleep 600; {mark}"))
        except BoxError as error:
            told["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: processes_with(mark), "it runs")
    for pid in outer():
        os.kill(int(pid), signal.SIGKILL)
    thread.join(30)
    wait_until(lambda: not processes_with(mark), "it has ended")
    assert "was killed" in told["error"].detail  # no test can reach it, so it is not the tests' fault


def test_a_node_that_dies_before_it_asks_leaves_nothing(boxes: Boxes) -> None:
    pipes = [os.pipe() for _ in range(4)]
    boxes.launcher.start_run([pipes[0][0], *(writing for _, writing in pipes[1:])])
    for index, (reading, writing) in enumerate(pipes):
        os.close(writing)
        if index == 0:
            os.close(reading)
    for reading, _ in pipes[1:]:
        with os.fdopen(reading) as pipe:
            assert pipe.read() == ""


def test_answers_that_are_not_from_the_box_cannot_be_given(confined: Scripts) -> None:
    """No descriptor that it has leads to the node's pipes but those of its own output."""
    end = confined.run(
        """
        import json, os
        for number in range(3, 4096):
            try: os.write(number, json.dumps({"exit": 0, "services": []}).encode() + b"\\n")
            except OSError: pass
        os._exit(7)
        """
    )
    assert end.exit_code == 7
    assert json.dumps(end.services) == "[]"


# What was tried once -------------------------------------------------------------------------


def test_answers_of_any_length_arrive_whole(boxes_of: BoxesOf, place: Path) -> None:
    """Control bytes are six characters each in JSON; signals cut a long write to a pipe short."""
    scripts = Scripts(boxes_of("full"), place)
    services = tuple(Service("head -c 20000 /dev/zero; sleep 600", seconds=0.1) for _ in range(4))
    end = scripts.run(
        """
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            while True:
                os.kill(1, signal.SIGCHLD)
                if os.fork() == 0: os._exit(0)
                time.sleep(0.001)
        """,
        services=services,
    )
    assert end.exit_code == 0
    assert [len(service["output"]) for service in end.services] == [16 * 1024] * 4


def test_code_that_is_larger_than_a_run_may_write_is_over_the_disks_limit(boxes_of: BoxesOf, place: Path) -> None:
    scripts = Scripts(boxes_of("full"), place)
    (scripts.code / "large").write_bytes(bytes(20 * MIB))
    end = scripts.run("", SMALL)
    assert (end.over_limit, end.exit_code) == ("disk", None)


def test_memory_that_no_process_has_mapped_is_counted(boxes_of: BoxesOf, place: Path) -> None:
    scripts = Scripts(replace(boxes_of("full"), cgroup=None), place)
    end = scripts.run(
        """
        import os, time
        kept = [os.memfd_create("x") for _ in range(30)]
        for number in kept: os.write(number, bytes(5_000_000))
        time.sleep(600)
        """,
        SMALL,
    )
    assert end.over_limit == "memory"


def test_files_without_a_name_are_counted(boxes_of: BoxesOf, place: Path) -> None:
    scripts = Scripts(boxes_of("portable"), place)
    end = scripts.run(
        """
        import os, time
        kept = []
        for _ in range(4):
            kept.append(open("gone", "wb")); os.unlink("gone")
            kept[-1].write(os.urandom(8_000_000)); kept[-1].flush()
        time.sleep(600)
        """,
        SMALL,
    )
    assert end.over_limit == "disk"


def test_no_stores_of_the_machine_are_emptied_and_no_settings_changed(boxes_of: BoxesOf, place: Path) -> None:
    scripts = Scripts(boxes_of("full"), place)
    end = scripts.run(
        """
        import ctypes, os
        libc, made = ctypes.CDLL(None, use_errno=True), 0
        while libc.inotify_init() >= 0 and made < 1000: made += 1
        pairs = []
        try:
            while len(pairs) < 1000: pairs.append(os.openpty())
        except OSError: pass
        print(made <= 64, len(pairs) <= 64)
        for name in ("kernel/shmmax", "fs/mqueue/msg_max", "kernel/core_pattern", "user/max_user_namespaces"):
            try: os.close(os.open("/proc/sys/" + name, os.O_WRONLY)); print(name)
            except OSError: pass
        """
    )
    if scripts.boxes.level.fresh_proc:
        assert (end.exit_code, end.stdout) == (0, "True True\n"), end.stderr
