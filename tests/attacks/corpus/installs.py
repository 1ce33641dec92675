"""Requirement files that are refused, and packages that misbehave while they are built or once they are installed.

All builds use a backend in the project's own tree; pytest alone comes from the index. What a build says it puts into the
wheel that it makes, and the test repeats it.
"""

# ruff: noqa: E501 - attacks are texts

from collections.abc import Mapping
from textwrap import dedent

from tests.attacks.guard import OUTSIDE
from tests.attacks.model import Attack, Expected, NotPromised, project
from tests.attacks.wheels import PYPROJECT, building, wheel

GROUP = "installs"
REFUSED = Expected(("infra_failed",), passed=0, failed=0)
FAILED = Expected(("env_failed",), passed=0, failed=1)
TEST = "def test_it():\n    assert 0\n"
REPEATS = "import loot\n\ndef test_attack():\n    print(loot.SAID)\n"


def _lines(name: str, shows: str, text: str | bytes, expected: Expected = REFUSED, **files: str) -> Attack:
    more = {path.replace("__", "/").replace("_txt", ".txt").replace("_toml", ".toml"): t for path, t in files.items()}
    return project(GROUP, name, shows, expected, {"requirements.txt": text, "test_it.py": TEST} | more)


def _build(name: str, shows: str, refusals: int, code: str, at: Mapping[str, NotPromised] | None = None) -> Attack:
    body = f"tried({name!r})\n" + dedent(code)
    expected = Expected(("passed",), passed=1, failed=0, refusals=refusals, is_tried=True)
    files = building(body) | {"test_it.py": REPEATS}
    return Attack(name, GROUP, shows, files, expected, dict(at or {}), installs=True)


def _bad_build(name: str, shows: str, code: str, expected: Expected, takes_long: bool = False) -> Attack:
    files = building(dedent(code)) | {"test_it.py": TEST}
    return Attack(name, GROUP, shows, files, expected, takes_long=takes_long, installs=True)


def _wheel(name: str, shows: str, files: dict[str, str], expected: Expected, test: str = TEST) -> Attack:
    given: dict[str, str | bytes] = {
        "requirements.txt": "./loot-1.0-py3-none-any.whl\n",
        "loot-1.0-py3-none-any.whl": wheel(files),
        "test_it.py": test,
    }
    return Attack(name, GROUP, shows, given, expected, installs=True)


_REFUSED = (
    _lines("file-outside", "-r of a file outside the project", "-r ../../../../../etc/passwd\n"),
    _lines("file-absolute", "-r of an absolute path", "-r /etc/passwd\n"),
    _lines("file-by-url", "-r of a URL", "-r http://127.0.0.1:9/requirements.txt\n"),
    _lines("constraints-outside", "-c of a file outside the project", "-c /etc/passwd\n"),
    _lines("index", "another index", "--index-url http://127.0.0.1:9/simple\nsix\n"),
    _lines("extra-index", "one more index", "--extra-index-url=http://127.0.0.1:9/simple\nsix\n"),
    _lines("find-links", "a folder of packages", "--find-links /etc\nsix\n"),
    _lines("trusted-host", "an index without a certificate", "--trusted-host 127.0.0.1\n"),
    _lines("options-of-builds", "options for builds", "--global-option=--help\n"),
    _lines("editable-absolute", "-e of an absolute path", "-e /etc\n"),
    _lines("editable-outside", "-e of a path outside", "-e ../..\n"),
    _lines("path-outside", "a path outside", "../../..\n"),
    _lines("file-url", "a file: URL", "loot @ file:///etc\n"),
    _lines("direct-url", "a package by URL", "loot @ http://127.0.0.1:9/loot-1.0.tar.gz\n"),
    _lines("version-control", "a package by version control", "git+https://127.0.0.1:9/loot.git\n"),
    _lines("version-control-command", "a command in a URL", "loot @ git+ext::sh%20-c%20id\n",
           Expected(("infra_failed", "env_failed"), passed=0, failed=None)),
    _lines("continued-option", "an option on a continued line", "six \\\n--index-url \\\nhttp://127.0.0.1:9/\n",
           Expected(("infra_failed", "env_failed"), passed=0, failed=None)),
    _lines("variable", "a variable of the node", "${MESH_SECRET}\n", Expected(("infra_failed", "env_failed"), passed=0, failed=None)),
    _lines("variable-in-a-path", "a path by a variable", "-e ${HOME}\n", Expected(("infra_failed", "env_failed"), passed=0, failed=None)),
    _lines("large-file", "a requirements file over 256 KiB", "# x\n" * 70_000),
    _lines("many-lines", "two thousand requirements", "".join(f"loot{n}\n" for n in range(2000))),
    _lines("includes-itself", "files that include each other, then a path outside", "-r other.txt\n",
           other_txt="-r requirements.txt\n-r ../../x.txt\n"),
    _lines("not-text", "bytes", b"\xff\xfe\x00\xd8\x00\x00" * 10, Expected(("env_failed", "infra_failed"), passed=0, failed=None)),
    _lines("command", "a line for a shell", "$(id > /tmp/x)\n`id`\n; id\n", FAILED),
    _lines("needs-of-a-build", "a build that needs a package by URL", "./package\n",
           package__pyproject_toml='[build-system]\nrequires = ["x @ http://127.0.0.1:9/x.whl"]\nbuild-backend = "x"\n'),
    _lines("no-such-path", "a path that is not there", "./nothing\n", FAILED),
    project(GROUP, "pyproject-url", "a dependency by URL in pyproject.toml", REFUSED, {"test_it.py": TEST, "pyproject.toml":
            '[project]\nname = "x"\nversion = "1"\ndependencies = ["y @ http://127.0.0.1:9/y.whl"]\n'}),
    project(GROUP, "pyproject-broken", "a pyproject.toml nested for ever", FAILED, {"test_it.py": TEST,
            "pyproject.toml": "x = " + "[" * 5000 + "]" * 5000 + "\n"}),
    project(GROUP, "uv-settings", "the installer's own settings in the project", Expected(("failed",), passed=0, failed=1),
            {"test_it.py": TEST, "requirements.txt": "", "uv.toml": 'index-url = "http://127.0.0.1:9/"\n',
             "pip.conf": "[global]\nindex-url = http://127.0.0.1:9/\n"}),
)  # fmt: skip

_BUILDS = (
    _build("build-reads-secrets", "a build that looks for secrets", 6, """
        for path in ("/etc/shadow", *TARGET["secret_files"], *TARGET["canary_files"]):
            attempt(path, opens, path)
        data = TARGET["data_dir"]
        for name in ("mesh.db", "node.key"):
            attempt(name, opens, f"{data}/{name}")
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"environ of {pid}", reads_canary, f"/proc/{pid}/environ")
        found = [n for n in os.environ if n.startswith("MESH_")]
        escaped(str(found)) if found else refused("variables", "none")
        """),
    _build("build-writes-outside", "a build that writes where it should not", 6, """
        data = TARGET["data_dir"]
        for folder in ("/", "/etc", "/usr/lib"):
            attempt(folder, creates, folder)
        for folder in (data, data + "/packages", data + "/environments", data + "/code", data + "/archives"):
            plants(folder)
        for path in TARGET["canary_files"]:
            attempt(path, opens, path, os.O_WRONLY | os.O_APPEND)
        """),
    _build("build-poisons-the-cache", "a build that changes the installer's cache", 1, """
        cache = os.environ.get("UV_CACHE_DIR") or os.environ.get("PIP_CACHE_DIR") or TARGET["data_dir"] + "/packages/uv"
        found = [os.path.join(folder, name) for folder, _, names in os.walk(cache) for name in names
                 if name == "python.py" and folder.endswith("_pytest")]
        for path in found[:3]:
            attempt(path, opens, path, os.O_WRONLY)
        found or refused(cache, "not there")
        """),
    _build("build-reaches-the-node", "a build that talks to the node and to the machine", 2, """
        attempt("node", connects, "127.0.0.1", TARGET["node_port"])
        attempt("trap", connects, "127.0.0.1", TARGET["trap_port"])
        """, dict.fromkeys(("full", "portable"), NotPromised("requirements install with the machine's network"))),
    _build("build-leaves-a-daemon", "a build that leaves a daemon", 0, """
        spawn(start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        def daemon():
            os.setsid()
            for number in range(3):  # else the installer waits for it, as it may
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            fork_and(for_a_minute)
        fork_and(daemon)
        """),
    _build("build-kills", "a build that signals the node and its installer's parents", 2, """
        for pid in TARGET["node_pids"]:
            attempt(f"signal to {pid}", os.kill, pid, 0)
        """),
    _build("build-gains-rights", "a build that asks the kernel for more", 2, """
        attempt_call("unshare", "unshare", 0x10000000)
        attempt_call("bpf", "bpf", 0, ctypes.c_char_p(bytes(128)), 128, undo=os.close)
        """),
    _bad_build("build-kills-its-parent", "a build that kills its installer",
               "os.kill(os.getppid(), 9)\ntime.sleep(60)",
               Expected(("env_failed", "infra_failed"), passed=0, failed=None)),
    _bad_build("build-exits", "a build that ends with success and no wheel", "os._exit(0)", FAILED),
    _bad_build("build-sleeps", "a build that never ends", "for_a_minute()", FAILED, takes_long=True),
    _bad_build("build-prints", "a build that prints a hundred megabytes and fails",
               "for _ in range(1600):\n    os.write(2, b'x' * 65535 + b'\\n')\nraise SystemExit('no')", FAILED),
    _bad_build("build-fills-the-disk", "a build that writes four times what a module may", """
        with open("big", "wb") as file:
            for _ in range(4 * limit("disk") // 2**20):
                file.write(b"x" * 2**20)
        raise SystemExit("wrote it all")
        """, Expected(("env_failed", "infra_failed"), passed=0, failed=None)),
    _bad_build("build-blames-the-index", "a build whose last words are those of a network that is down",
               "sys.stderr.write('error: Failed to fetch: `https://x/simple/`\\n  Caused by: dns error: failed to lookup address\\n')\n"
               "raise SystemExit(2)", Expected(("env_failed", "infra_failed"), passed=0, failed=None)),
)  # fmt: skip

_WHEELS = (
    _wheel("wheel-start-file", "a wheel with a .pth file that ends Python", {"loot.pth": "import os; os._exit(0)\n"},
           Expected(("env_failed", "crashed"), passed=0, failed=1)),
    _wheel("wheel-shadows-pytest", "a wheel that overwrites pytest", {"pytest/__init__.py": "def main(*a, **k): return 0\n"},
           Expected(("env_failed", "crashed", "failed"), passed=0, failed=1)),
    _wheel("wheel-plugin", "a wheel with a pytest plugin that ends the run",
           {"loot.py": "def pytest_cmdline_main(config):\n    return 0\n",
            "loot-1.0.dist-info/entry_points.txt": "[pytest11]\nloot = loot\n"},
           Expected(("crashed",), passed=0, failed=1)),
    _wheel("wheel-climbs-out", "a wheel with names outside its folder",
           {"../" * 40 + "tmp/" + OUTSIDE: "x = 1\n"},
           Expected(("env_failed", "infra_failed", "failed"), passed=0, failed=None)),
    _wheel("wheel-sitecustomize", "a wheel with a sitecustomize that says success",
           {"sitecustomize.py": "import atexit, os\natexit.register(os._exit, 0)\n"},
           Expected(("env_failed", "crashed", "failed"), passed=0, failed=1)),  # Debian's Python has its own before it
    Attack("wheel-that-is-none", GROUP, "a wheel that is no zip",
           {"requirements.txt": "./loot-1.0-py3-none-any.whl\n", "loot-1.0-py3-none-any.whl": b"PK\x03\x04" + bytes(200), "test_it.py": TEST},
           FAILED, installs=True),
    Attack("setup-cfg-package", GROUP, "a package whose metadata points outside",
           {"requirements.txt": "./package\n", "package/pyproject.toml": PYPROJECT.replace('"."', '"../../.."'), "test_it.py": TEST},
           Expected(("env_failed", "infra_failed"), passed=0, failed=None), installs=True),
)  # fmt: skip

ATTACKS = (*_REFUSED, *_BUILDS, *_WHEELS)
