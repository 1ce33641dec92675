"""What would reach other modules: of the same project, of others at the same time, of all that come later.

Each leaves something; the siblings (`siblings.py`), beside it and in a later evaluation, look for it.
"""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, Expected, attack_file, escape, project

GROUP = "neighbours"
FINE = Expected(("passed",), passed=1, failed=0, is_tried=True)


def _leaves(name: str, shows: str, body: str, **files: str) -> Attack:
    text = attack_file(name, body)
    more = {path.replace("__", "/").replace("_py", ".py"): content for path, content in files.items()}
    return project(GROUP, name, shows, FINE, {"test_it.py": text} | more)


ATTACKS = (
    escape(GROUP, "poisoned-environment", "a module in the site-packages that all share", """
        import pytest
        site_packages = os.path.dirname(os.path.dirname(pytest.__file__))
        def plants(name, text):
            with open(f"{site_packages}/{name}", "x") as file:
                file.write(text)
        attempt("a module", plants, f"{MARK}.py", "x = 1\\n")
        attempt("a start file", plants, f"{MARK}.pth", f"import sys; sys.{MARK} = 1\\n")
        attempt("site customization", plants, "sitecustomize.py", f"import sys; sys.{MARK} = 1\\n")
        """, 3),
    escape(GROUP, "poisoned-bytecode", "bytecode in the place of pytest's own", """
        import importlib.util, pytest
        attempt("bytecode", opens, importlib.util.cache_from_source(pytest.__file__), os.O_RDWR)
        folder = os.path.dirname(importlib.util.cache_from_source(pytest.__file__))
        attempt("more bytecode", creates, folder)
        """, 2),
    escape(GROUP, "poisoned-links", "a way into the environment through links and open folders", """
        import pytest
        package = os.path.dirname(pytest.__file__)
        os.symlink(package, "linked")
        attempt("through a link", creates, "linked")
        folder = os.open(package, os.O_RDONLY)
        attempt("through a descriptor", lambda: os.close(os.open(MARK, os.O_CREAT | os.O_WRONLY, dir_fd=folder)),
                undo=lambda _: os.unlink(MARK, dir_fd=folder))
        attempt("a hard link", os.link, pytest.__file__, "hard.py")
        """, 3),
    _leaves("own-code", "its own code, which another module of the project uses", """
with open("lib.py", "w") as file:
    file.write("VALUE = 2\\n")
with open("test_other.py", "w") as file:
    file.write("def test_forged(): pass\\n" * 5)
""", lib_py="VALUE = 1\n", test_other_py="""
import time
import lib

def test_sees_what_was_handed_in():
    time.sleep(1)
    assert "VALUE = 1" in open(lib.__file__).read()
"""),
    _leaves("server", "a server on localhost:5000 that answers for the sibling's", """
if is_apart("net"):
    server = socket.create_server(("127.0.0.1", 5000))
    server.listen()
    fork_and(for_a_minute)
    time.sleep(1)
"""),
    _leaves("temporary-files", "files in /tmp, /var/tmp and /dev/shm", """
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    with contextlib.suppress(OSError), open(f"{folder}/{MARK}-left", "w") as file:
        file.write(MARK)
"""),
    _leaves("locked-temporary-folder", "pytest's own folder for temporary files, taken", """
import getpass, tempfile
for folder in ("/tmp", tempfile.gettempdir()):
    with contextlib.suppress(OSError, KeyError):
        os.mkdir(f"{folder}/pytest-of-{MARK}", 0)
"""),
    _leaves("home", "files in its home that shells and Python read", """
for name in (".bashrc", ".profile", ".pdbrc", ".config/pip/pip.conf", ".local/lib/python3.11/site-packages/usercustomize.py"):
    path = os.path.join(os.path.expanduser("~"), name)
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"# {MARK}\\nimport os; os._exit(0)\\n")
"""),
    _leaves("system-v", "System V shared memory, semaphores and queues", """
if is_apart("ipc"):
    libc = ctypes.CDLL(None)
    libc.shmget(TARGET["ipc_key"], 4096, 0o1666)
    libc.semget(TARGET["ipc_key"], 1, 0o1666)
    libc.msgget(TARGET["ipc_key"], 0o1666)
"""),
    _leaves("posix-queue", "a POSIX message queue and a named semaphore", """
if is_apart("ipc"):
    libc = ctypes.CDLL(None)
    libc.mq_open(f"/{MARK}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
    libc.sem_open(f"/{MARK}".encode(), os.O_CREAT, 0o666, 1)
"""),
    _leaves("abstract-name", "an abstract socket that a sibling may look for", """
if is_apart("net"):
    server = socket.socket(socket.AF_UNIX)
    server.bind("\\0" + MARK)
    server.listen()
    fork_and(for_a_minute)
"""),
    _leaves("terminal-settings", "umask, folder and limits of whoever comes next", """
os.umask(0o777)
os.chdir("/")
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
"""),
)  # fmt: skip
