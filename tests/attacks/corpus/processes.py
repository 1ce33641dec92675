"""Processes that will not end, end others, or come back. All carry the mark; none lives longer than a minute."""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, Expected, attack_file, escape, project

GROUP = "processes"
FINE = Expected(("passed",), passed=1, failed=0, is_tried=True)
TIMEOUT = Expected(("timeout",), passed=0, failed=1)


def _leaves(name: str, shows: str, body: str, expected: Expected = FINE, takes_long: bool = False) -> Attack:
    """A test that passes at once and leaves something running."""
    text = attack_file(name, body)
    return project(GROUP, name, shows, expected, {"test_it.py": text}, takes_long=takes_long)


def _service(name: str, shows: str, command: str, code: str, expected: Expected) -> Attack:
    files = {
        "pyproject.toml": f'[tool.testmesh]\nservices = [{{command = "{command}", ready = {{seconds = 0.3}}}}]\n',
        "requirements.txt": "",
        "service.py": code,
        "test_it.py": f"from kit import *\n\ndef test_attack():\n    tried({name!r})\n",
    }
    return project(GROUP, name, shows, expected, files)


_SURVIVORS = (
    _leaves("child", "a child left running", "spawn()"),
    _leaves("setsid", "a daemon in a session of its own", "spawn(start_new_session=True)"),
    _leaves("double-fork", "a daemon by the book", """
def daemon():
    os.setsid()
    if os.fork() == 0:
        signal.alarm(60)
        os.chdir("/")
        for_a_minute()
fork_and(daemon)
"""),
    _leaves("nohup", "a shell's background process that ignores hanging up",
            "subprocess.Popen(['/bin/sh', '-c', f'nohup sleep 60 # {MARK} &'], start_new_session=True)"),
    _leaves("holds-the-output", "a process that keeps the test's output open", "spawn(start_new_session=True, close_fds=False)"),
    _leaves("stopped", "a process that is stopped", """
child = spawn(start_new_session=True)
child.send_signal(signal.SIGSTOP)
"""),
    _leaves("deaf", "a process that ignores every signal it can", """
spawn("import signal, time; [signal.signal(n, signal.SIG_IGN) for n in range(1, 32)"
      " if n not in (9, 14, 19)]; time.sleep(60)", start_new_session=True)
"""),
    _leaves("no-parent-death-signal", "a process that does not die with its parent and adopts others", """
def adopts():
    import ctypes
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0, 0, 0, 0)
    libc.prctl(36, 1, 0, 0, 0)
    os.setsid()
    for _ in range(3):
        fork_and(for_a_minute)
    for_a_minute()
fork_and(adopts)
"""),
    _leaves("sibling-of-its-parent", "a child of its parent, by CLONE_PARENT", """
try:
    if syscall("clone", 0x8000 | 17, 0, 0, 0, 0) == 0:
        signal.alarm(60)
        for_a_minute()
        os._exit(0)
except OSError:
    pass
"""),
    _leaves("runner", "a process that forks and ends, always one id ahead", """
def runs():
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        time.sleep(0.005)
for _ in range(4):
    fork_and(runs)
"""),
    _leaves("multiprocessing", "a pool that nobody closes", """
import multiprocessing
multiprocessing.get_context("fork").Process(target=for_a_minute, daemon=True).start()
"""),
    _leaves("zombies", "children that nobody waits for", """
for _ in range(24):
    fork_and(lambda: None)
"""),
    _leaves("under-another-name", "a process that calls itself by the kernel's names", """
def hides():
    import ctypes
    os.setsid()
    ctypes.CDLL(None).prctl(15, (MARK + "kw")[:15].encode(), 0, 0, 0)
    for_a_minute()
fork_and(hides)
"""),
    _leaves("non-daemon-thread", "a thread that keeps the process from ending", """
import threading
threading.Thread(target=for_a_minute).start()
""", Expected(("timeout",), passed=1, failed=0, is_tried=True), takes_long=True),
    _leaves("atexit-waits", "atexit waits for ever", """
import atexit
atexit.register(for_a_minute)
""", Expected(("timeout",), passed=1, failed=0, is_tried=True), takes_long=True),
    _leaves("stops-itself", "SIGSTOP to itself", "os.kill(os.getpid(), signal.SIGSTOP)", TIMEOUT, takes_long=True),
    _leaves("stops-its-group", "SIGSTOP to its group", "os.killpg(0, signal.SIGSTOP)", TIMEOUT, takes_long=True),
    _leaves("deaf-itself", "every signal ignored and blocked, for ever", """
for number in range(1, 32):
    if number not in (9, 19):
        signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
while True:
    time.sleep(1)
""", TIMEOUT, takes_long=True),
)  # fmt: skip

_BOMBS = (
    escape(GROUP, "fork-bomb", "as many processes as there may be", """
        most, started = 4 * limit("processes"), 0
        try:
            while started < most:
                fork_and(for_a_minute)
                started += 1
        except OSError as error:
            refused(f"process {started}", error)
        else:
            escaped(f"{started} processes")
        """, 1),
    escape(GROUP, "fork-bomb-growing", "processes that all fork, eight generations deep", """
        def grows():
            for _ in range(8):
                with contextlib.suppress(OSError):
                    os.fork()
            for_a_minute()
        before = time.monotonic()
        fork_and(grows)
        time.sleep(0.5)
        refused("eight generations", "counted from outside")
        """, 1),
    escape(GROUP, "thread-bomb", "as many threads as there may be", """
        import threading
        threading.stack_size(65536)
        most, done = 4 * limit("processes"), threading.Event()
        started = 0
        try:
            while started < most:
                threading.Thread(target=done.wait, args=(60,), daemon=True).start()
                started += 1
        except (RuntimeError, MemoryError) as error:
            refused(f"thread {started}", error)
        else:
            escaped(f"{started} threads")
        done.set()
        """, 1),
)  # fmt: skip

_KILLERS = (
    escape(GROUP, "kill-all", "kill -9 -1", """
        if is_apart("pid") or (not is_apart("user") and os.getuid() not in TARGET["uids"]):
            with contextlib.suppress(OSError):
                os.kill(-1, signal.SIGKILL)
            refused("everything", "this process goes on; others are looked at from outside")
        else:
            withheld("kill -1")
        """, 1),
    escape(GROUP, "kill-the-node", "signals to the node, its workers and its launcher", """
        for pid in TARGET["node_pids"]:
            attempt(f"signal to {pid}", os.kill, pid, 0)
        """, 2),
    escape(GROUP, "stop-the-supervisor", "signals to every other process it sees", """
        for pid in other_processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        refused("all others", "the run ends all the same")
        """, 1),
    escape(GROUP, "group-of-another", "joins another process's group, or takes one along", """
        for pid in TARGET["node_pids"][:2]:
            attempt(f"group {pid}", os.setpgid, 0, pid)
            attempt(f"group of {pid}", os.setpgid, pid, pid)
        """, 4),
)  # fmt: skip

_SERVICES = (
    _service("service-daemon", "a service that leaves a daemon behind", "python3 service.py",
             "from kit import *\nspawn(start_new_session=True)\nfor_a_minute()\n", FINE),
    _service("service-dies", "a service that dies at once, which is said", "python3 service.py",
             "raise SystemExit(3)\n",
             Expected(("passed",), passed=1, failed=0, is_tried=True, detail="service `python3 service.py` ended with exit status 3")),
    _service("service-kills-all", "a service that kills what it can", "python3 service.py",
             "from kit import *\nif is_apart('pid'):\n    os.kill(-1, 9)\n",
             Expected(("passed", "crashed", "failed"), errors=None)),
    _service("service-forges", "a service that writes event lines to every descriptor", "python3 service.py",
             "from kit import *\nwrite_everywhere(b'\\n{\"n\": \"\", \"e\": \"exit\", \"status\": 0}\\n{\"exit\": 0}\\n')\nfor_a_minute()\n", FINE),
)  # fmt: skip

ATTACKS = (*_SURVIVORS, *_BOMBS, *_KILLERS, *_SERVICES)
