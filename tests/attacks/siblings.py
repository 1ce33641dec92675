"""Honest projects beside the hostile ones, and again after them: each test looks for one kind of trouble."""

from collections.abc import Mapping

from tests.attacks.model import Expected

EXACT = Expected(("failed",), passed=10, failed=1, skipped=1)
"""What the module below counts wherever nobody disturbed it."""

_TEST = """
import glob, os, socket, sys, tempfile, time
import pytest
from kit import MARK, TARGET, is_apart
import lib

def test_its_own_code_is_as_handed_in():
    assert lib.VALUE == 1

def test_the_environment_is_as_installed():
    site_packages = os.path.dirname(os.path.dirname(pytest.__file__))
    assert not [name for name in os.listdir(site_packages) if MARK in name or name == "sitecustomize.py"]
    assert not hasattr(sys, MARK)

def test_temporary_folders_hold_nothing_of_others():
    assert not [name for name in os.listdir(tempfile.gettempdir()) if MARK in name]
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        try:
            seen = os.listdir(folder)
        except OSError:
            continue
        assert not [name for name in seen if MARK in name]

def test_its_home_is_its_own():
    assert not os.path.exists(os.path.expanduser("~/.profile"))

def test_a_port_is_free():
    if is_apart("net"):
        with socket.create_server(("127.0.0.1", 5000)):
            time.sleep(0.05)

def test_nobody_answers_on_names_of_others():
    if is_apart("net"):
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError):
            client.connect("\\0" + MARK)

def test_system_v_objects_are_its_own():
    if is_apart("ipc"):
        import ctypes
        assert ctypes.CDLL(None).shmget(TARGET["ipc_key"], 0, 0) == -1

def test_no_process_of_others_is_seen():
    # The name of this process is the mark too, given by its own kit.
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                line = file.read()
        except OSError:
            continue
        assert MARK.encode() not in line

def test_writes_where_it_may(tmp_path):
    (tmp_path / "a").write_text("a")
    with open("own.txt", "w") as file:
        file.write("own")

def test_starts_a_program():
    import subprocess
    assert subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, check=True).stdout == b"42\\n"

def test_fails():
    assert 1 == 2

@pytest.mark.skip
def test_skipped():
    pass
"""


def sibling(kit: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    """The files of one honest project; `kit` is what the hostile ones carry too."""
    return {"requirements.txt": "", "lib.py": "VALUE = 1\n", "test_it.py": _TEST, **kit}
