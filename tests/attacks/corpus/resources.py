"""More of everything than there is. Where a limit fails, a bomb stops by itself at four times it and its test passes."""

# ruff: noqa: E501 - attacks are texts

from textwrap import indent

from tests.attacks.model import Attack, Expected, attack_file, escape, project

GROUP = "resources"
STOPPED = Expected(("crashed", "failed"), passed=0, failed=1)
TIMEOUT = Expected(("timeout", "crashed"), passed=0, failed=1)
FINE = Expected(("passed",), passed=1, failed=0, is_tried=True)


def _bomb(
    name: str, shows: str, body: str, expected: Expected = STOPPED, takes_long: bool = False, **files: str
) -> Attack:
    text = attack_file(name, body)
    given = {"test_it.py": text} | {key.replace("_ini", ".ini"): value for key, value in files.items()}
    return project(GROUP, name, shows, expected, given, takes_long=takes_long)


def _disk(name: str, shows: str, body: str) -> Attack:
    """Told that there is no more room, or stopped: either is the limit."""
    writes = indent(body.strip(), "    ")
    text = f"most = 4 * limit('disk')\ntry:\n{writes}\nexcept OSError as error:\n    refused('more', error)\n"
    kept = "else:\n    import time\n    time.sleep(4)  # a limit that is watched stops it meanwhile\n    escaped(f'{most} bytes')\n"
    test = attack_file(name, text + kept)
    expected = Expected(("passed", "crashed"), passed=None, failed=None, refusals=1, is_tried=True)
    return project(GROUP, name, shows, expected, {"test_it.py": test})


_UNCAPTURED = "[pytest]\naddopts = -s\n"

_MEMORY = (
    _bomb("memory", "a list that grows", """
kept = []
while len(kept) * 2**24 < 4 * limit("memory"):
    kept.append(b"x" * 2**24)
"""),
    _bomb("memory-mapped", "shared memory without a name", """
import mmap
kept = mmap.mmap(-1, 4 * limit("memory"))
for at in range(0, len(kept), 4096):
    kept[at] = 1
"""),
    _bomb("memory-in-files", "files that are memory", """
size = 0
with open("/dev/shm/" + MARK, "wb") as file:
    while size < 4 * limit("memory"):
        size += file.write(b"x" * 2**20)
        file.flush()
os.unlink("/dev/shm/" + MARK)
"""),
    _bomb("memory-file-descriptors", "files without a name (memfd)", """
file = os.memfd_create(MARK)
size = 0
while size < 4 * limit("memory"):
    size += os.write(file, b"x" * 2**22)
"""),
    _bomb("memory-of-many", "six processes, each of them under the limit", """
def takes():
    kept = b"x" * (limit("memory") * 7 // 10)
    time.sleep(1.5)
    os._exit(7)
children = [os.fork() or takes() for _ in range(6)]
ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert ends == [7] * 6
"""),
    _bomb("memory-system-v", "System V shared memory", """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for part in range(16):
    number = libc.shmget(0, limit("memory") // 4, 0o1600)
    assert number >= 0
    place = libc.shmat(number, None, 0)
    libc.shmctl(number, 0, None)
    assert place != ctypes.c_void_p(-1).value
    ctypes.memset(place, 1, limit("memory") // 4)
"""),
)  # fmt: skip

_DISK = (
    _disk("disk", "one file", """
with open("big", "wb") as file:
    for _ in range(most // 2**20):
        file.write(b"x" * 2**20)
        file.flush()
"""),
    _disk("disk-many-files", "many files", """
for number in range(most // 2**16):
    with open(f"{number}", "wb") as file:
        file.write(b"x" * 2**16)
"""),
    _disk("disk-elsewhere", "its home, its folder for temporary files and shared memory, a part each", """
import tempfile
for folder in (os.path.expanduser("~"), tempfile.gettempdir(), "/dev/shm", os.getcwd()):
    for number in range(most // 2**22):
        with open(f"{folder}/{MARK}-{number}", "wb") as file:
            file.write(b"x" * 2**20)
"""),
    _disk("disk-removed-files", "files without a name that are still open", """
kept = []
for number in range(most // 2**20):
    kept.append(open("gone", "wb"))
    os.unlink("gone")
    kept[-1].write(b"x" * 2**20)
    kept[-1].flush()
"""),
    _bomb("disk-sparse", "a file of a tebibyte with nothing in it", """
with contextlib.suppress(OSError), open("sparse", "wb") as file:
    file.truncate(2**40)
""", FINE),
)  # fmt: skip

_OUTPUT = (
    _bomb("output-captured", "eight mebibytes printed", "print('x' * 2**23)",
          Expected(("passed",), passed=1, failed=0, detail="cut")),
    _bomb("output", "a hundred megabytes on standard output", "for _ in range(1600):\n    os.write(1, b'x' * 65536)",
          Expected(("passed",), passed=1, failed=0, detail="cut"), pytest_ini=_UNCAPTURED),
    _bomb("output-of-errors", "a hundred megabytes on standard error", "for _ in range(1600):\n    os.write(2, b'x' * 65536)",
          Expected(("passed",), passed=1, failed=0, detail="cut"), pytest_ini=_UNCAPTURED),
    _bomb("output-garbage", "bytes that are no text, and words for a terminal", r"""
os.write(1, bytes(range(256)) * 40 + b"\xff\xed\xa0\x80\x1b]0;owned\x07\x1b[2J" + "\u202e\x00".encode())
print("\ud800".encode("utf-8", "surrogatepass"))
""", FINE),
    _bomb("assertion-message", "fifty megabytes of explanation", "assert 0, 'x' * 50_000_000",
          Expected(("failed", "crashed"), passed=0, failed=1)),
    project(GROUP, "long-names", "tests with names of a megabyte", Expected(("passed",), passed=5, failed=0), {"test_it.py": """
        import pytest

        @pytest.mark.parametrize("n", range(5), ids=lambda n: chr(97 + n) * 1_000_000)
        def test_named(n): pass
        """}),
    project(GROUP, "odd-names", "tests with names that are markup, commands and broken text",
            Expected(("passed",), passed=7, failed=0), {"test_it.py": r"""
        import pytest

        IDS = ["<script>alert(1)</script>", "'; DROP TABLE modules; --", "\x00\x1b[2J", "\ud800", "=cmd|' /C calc'!A0", "::", "a\nb"]

        @pytest.mark.parametrize("n", range(7), ids=IDS)
        def test_named(n): pass
        """}),
    project(GROUP, "many-failures", "three hundred failures with a long story each", Expected(("failed",), passed=0, failed=300),
            {"test_it.py": """
        import pytest

        @pytest.mark.parametrize("n", range(300))
        def test_fails(n):
            assert False, "x" * 20_000
        """}),
    _bomb("odd-reprs", "objects whose repr raises and ends the process", r"""
class Odd:
    def __repr__(self):
        raise SystemExit(0)
    __str__ = __repr__
assert Odd() == 1
""", Expected(("failed", "crashed"), passed=0, failed=1)),
)  # fmt: skip

_TIME = (
    _bomb("sleeps", "sleeps for ever", "while True:\n    time.sleep(60)", TIMEOUT, takes_long=True),
    _bomb("busy", "a calculation in C that no signal handler interrupts",
          "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsum(range(10**14))", TIMEOUT, takes_long=True),
    _bomb("busy-processes", "eight processes that calculate", """
for _ in range(7):
    fork_and(lambda: sum(iter(int, 1)))
sum(iter(int, 1))
""", TIMEOUT, takes_long=True),
    project(GROUP, "stops-in-import", "sleeps while it is imported", Expected(("timeout",), passed=0, failed=2),
            {"test_it.py": "import time\ntime.sleep(600)\n\ndef test_a(): pass\n\ndef test_b(): pass\n"}, takes_long=True),
    project(GROUP, "collects-for-ever", "parameters without an end", TIMEOUT, {"test_it.py": """
        import itertools, pytest

        @pytest.mark.parametrize("n", itertools.count())
        def test_n(n): pass
        """}, takes_long=True),
    project(GROUP, "million-tests", "a million tests", Expected(("timeout", "crashed"), passed=None, failed=None), {"test_it.py": """
        import pytest

        @pytest.mark.parametrize("n", range(1_000_000))
        def test_n(n): pass
        """}, takes_long=True),
    project(GROUP, "reads-for-ever", "waits for input that never comes", Expected(("failed",), passed=0, failed=1),
            {"test_it.py": "def test_reads():\n    assert input()\n"}),
)  # fmt: skip

_OTHERS = (
    escape(GROUP, "descriptors", "as many open files as there may be", """
        kept = []
        try:
            while len(kept) < 1_100_000:
                kept.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            code = error.errno
        else:
            code = 0
        for descriptor in kept:
            os.close(descriptor)
        refused(f"{len(kept)} files", code) if code and len(kept) <= 70_000 else escaped(f"{len(kept)} files")
        """, 1),
    escape(GROUP, "core-dump", "a process image on the disk", """
        child = spawn("import os; os.abort()")
        child.wait()
        found = [name for name in os.listdir(".") if name.startswith("core")]
        escaped(str(found)) if found else refused("core", "none")
        """, 1),
)  # fmt: skip

ATTACKS: tuple[Attack, ...] = (*_MEMORY, *_DISK, *_OUTPUT, *_TIME, *_OTHERS)
