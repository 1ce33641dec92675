"""Files that are nobody's business, and traps for whoever copies and removes a run's own."""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, Expected, NotPromised, attack_file, escape, project

GROUP = "files"


def _escape(name: str, shows: str, refusals: int, body: str, **more: NotPromised) -> Attack:
    return escape(GROUP, name, shows, body, refusals, at=more)


_READING = (
    _escape("etc-passwd", "the machine's users", 1, """
        import hashlib
        def reads():
            with open("/etc/passwd", "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != TARGET["passwd_digest"]:
                    raise OSError(errno.ENOENT, "another one")
        attempt("/etc/passwd", reads)
        """),
    _escape("etc-secrets", "what only root may read in /etc", 5, """
        for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssl/private/ssl-cert-snakeoil.key"):
            attempt(path, opens, path)
        """),
    _escape("data-folder", "the node's database, key, archives and everything beside them", 8, """
        data = TARGET["data_dir"]
        def lists():  # a box may show the way to the environment, and nothing beside it
            if not {"mesh.db", "archives", "incoming"} & set(os.listdir(data)):
                raise OSError(errno.ENOENT, "nothing of the node")
        attempt(data, lists)
        for name in ("mesh.db", "mesh.db-wal", "node.key"):
            attempt(name, opens, f"{data}/{name}")
        for name in ("archives", "code", "incoming", "work"):
            attempt(name, os.listdir, f"{data}/{name}")
        """),
    _escape("data-folder-writing", "a row of its own in the node's database", 2, """
        data = TARGET["data_dir"]
        attempt("mesh.db", opens, data + "/mesh.db", os.O_RDWR)
        attempt("node.key", opens, data + "/node.key", os.O_RDWR)
        plants(data)
        """),
    _escape("secret-files", "the mesh secret where boot.sh and compose keep it", 2, """
        for path in TARGET["secret_files"]:
            attempt(path, opens, path)
        """),
    _escape("canaries", "files of the node's user outside its data folder", 3, """
        for path in TARGET["canary_files"]:
            attempt(path, reads_canary, path)
        """),
    _escape("canaries-through-proc", "the same through /proc/*/root and /proc/*/cwd", 1, """
        for pid in ["self", parent(), *other_processes()[:30]]:
            for path in TARGET["canary_files"]:
                attempt(f"/proc/{pid}/root{path}", reads_canary, f"/proc/{pid}/root{path}")
                attempt(f"/proc/{pid}/cwd/..", reads_canary, f"/proc/{pid}/cwd/../../../../../../../..{path}")
        """),
    _escape("canaries-changed", "the same, changed in any way", 15, """
        for path in TARGET["canary_files"]:
            attempt("append to " + path, opens, path, os.O_WRONLY | os.O_APPEND)
            attempt("touch " + path, os.utime, path)
            attempt("chmod " + path, os.chmod, path, 0o666)
            attempt("link to " + path, os.link, path, "link-" + os.path.basename(path))
            attempt("rename " + path, os.rename, path, path + "x", undo=lambda _, path=path: os.rename(path + "x", path))
        """),
    _escape("environ-of-process-1", "/proc/1/environ", 1, """
        path = f"/proc/{1 if proc_is_own() else TARGET['node_pid']}/environ"
        attempt(path, opens, path)
        """),
    _escape("environ-of-all", "settings and tokens in every /proc/*/environ", 1, """
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"environ of {pid}", reads_canary, f"/proc/{pid}/environ")
        """),
    _escape("memory-of-all", "/proc/*/mem", 1, """
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"mem of {pid}", opens_of_process, pid, "mem")
        """),
    _escape("descriptors-of-all", "files that other processes hold open", 2, """
        def files(pid):  # that there are descriptors may be seen, by the same user; what they are may not
            for name in os.listdir(f"/proc/{pid}/fd") or ["0"]:
                os.readlink(f"/proc/{pid}/fd/{name}")
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"fd of {pid}", files, pid)
            attempt(f"maps of {pid}", opens_of_process, pid, "maps")
        """),
    _escape("inherited-descriptors", "sockets and the node's files among its own descriptors", 1, """
        found = 0
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink("/proc/self/fd/" + name)
                if target.startswith("socket:") or target.startswith(TARGET["data_dir"] + "/mesh"):
                    found += 1
                    escaped(f"descriptor {name}: {target}")
        found or refused("descriptors", "none of the node's")
        """),
    _escape("inherited-variables", "the node's settings in its own environment", 1, """
        found = [n for n in os.environ if n.startswith("MESH_") or "TOKEN" in n or "SECRET" in n or n.lower().endswith("_proxy")]
        for name in found:
            escaped("variable " + name)
        found or refused("variables", "none")
        """),
    _escape("homes", "people's home folders", 2, """
        home, name = os.path.split(TARGET["home_canary"])
        def lists(path):  # a box may show the way to the interpreter, and nothing beside it
            if path == home and name not in os.listdir(path) or not os.listdir(path):
                raise OSError(errno.ENOENT, "nothing in it")
        for path in ("/home", home):
            attempt(path, lists, path)
        """),
    _escape("other-runs", "the folders of runs at the same time", 1, """
        work = TARGET["data_dir"] + "/work"
        try:
            seen = [name for name in os.listdir(work) if f"/{name}/" not in os.getcwd() + "/"]
        except OSError as error:
            refused(work, error)
        else:
            for name in seen:
                attempt(name, os.listdir, f"{work}/{name}")
            attempt("a folder beside", creates, work)
        """),
    _escape("package-cache", "the installer's cache", 2, """
        for name in ("packages", "packages/uv"):
            attempt("read " + name, os.listdir, TARGET["data_dir"] + "/" + name)
            attempt("write " + name, creates, TARGET["data_dir"] + "/" + name)
        """),
)  # fmt: skip

_WRITING = (
    _escape("system-folders", "a file in each folder of the system", 14, """
        for folder in ("/", "/usr", "/usr/bin", "/usr/lib", "/usr/local/bin", "/etc", "/bin", "/lib", "/opt", "/var",
                       "/var/lib", "/boot", "/srv", "/mnt"):
            attempt(folder, creates, folder)
        """),
    _escape("environment", "the environment that other runs use", 8, """
        import pytest, site, sysconfig
        package = os.path.dirname(pytest.__file__)
        site_packages = os.path.dirname(package)
        for folder in (site_packages, package, package + "/__pycache__", sys.prefix, sys.prefix + "/bin"):
            attempt(folder, creates, folder)
        attempt("pytest", opens, pytest.__file__, os.O_WRONLY)
        attempt("python", os.rename, sys.executable, sys.executable + "x",
                undo=lambda _: os.rename(sys.executable + "x", sys.executable))
        attempt("chmod", os.chmod, pytest.__file__, 0o666)
        """),
    _escape("interpreter", "the folder of the interpreter itself", 2, """
        for folder in (os.path.dirname(os.__file__), os.path.dirname(os.path.realpath(sys.executable))):
            attempt(folder, creates, folder)
        """),
    _escape("service-s-code", "the service's own code", 1, """
        plants(TARGET["source_dir"])
        attempt("plugin", opens, TARGET["source_dir"] + "/testmesh/testing/pytest_plugin.py", os.O_WRONLY)
        """),
    _escape("kernel-switches", "switches of the kernel that lead to root, opened for writing only", 9, """
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug",
                     "/proc/sys/fs/binfmt_misc/register", "/proc/sysrq-trigger", "/proc/sys/vm/panic_on_oom",
                     "/sys/kernel/uevent_helper", "/proc/sys/kernel/hostname", "/sys/power/state"):
            attempt(path, opens, path, os.O_WRONLY)
        """),
    _escape("cgroup-release-agent", "the way out through a cgroup's release agent", 4, """
        for name in ("memory", "pids", "rdma", "devices"):
            attempt(name, opens, f"/sys/fs/cgroup/{name}/release_agent", os.O_WRONLY)
        attempt("a group of its own", os.mkdir, f"/sys/fs/cgroup/memory/{MARK}", undo=lambda _: os.rmdir(f"/sys/fs/cgroup/memory/{MARK}"))
        attempt("another group", opens, "/sys/fs/cgroup/cgroup.procs", os.O_WRONLY)
        """),
    _escape("devices-made", "device nodes of its own", 2, """
        import stat
        attempt("the null device", os.mknod, "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        attempt("a disk", os.mknod, "disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
        """),
    _escape("devices-opened", "disks, memory and kernel messages among the devices", 9, """
        for name in ("mem", "kmem", "port", "kmsg", "vda", "sda", "fuse", "loop-control", "net/tun"):
            attempt(name, opens, "/dev/" + name)
        """),
    _escape("out-of-memory-score", "never the first to be killed", 1, """
        def lowers():
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("-1000")
        attempt("oom_score_adj", lowers)
        """),
    _escape("identities", "root's identity, groups and identity maps", 6, """
        def writes(path, text):
            with open(path, "w") as file:
                file.write(text)
        in_child(lambda: attempt("setuid", os.setuid, 0) if os.getuid() else escaped("is root"))
        in_child(lambda: attempt("setgid", os.setgid, 0) if os.getgid() else escaped("is in root's group"))
        in_child(lambda: attempt("setgroups", os.setgroups, [0, 4, 6]))
        attempt("chown", os.chown, "test_it.py", 0, 0)
        attempt("uid_map", writes, "/proc/self/uid_map", "0 0 1")
        attempt("gid_map", writes, "/proc/self/gid_map", "0 0 1")
        """),
    _escape("capabilities", "capabilities, and a way to gain some by executing", 2, """
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            held = int(status[name], 16)
            escaped(f"{name} {held:x}") if held else refused(name, "none")
        refused("setuid programs", "no_new_privs") if int(status["NoNewPrivs"]) else escaped("new privileges")
        """),
)  # fmt: skip


def _leaves(name: str, shows: str, body: str, passed: tuple[str, ...] = ("passed",)) -> Attack:
    test = attack_file(name, body)
    counts = Expected(passed, passed=1 if passed == ("passed",) else None, failed=None, is_tried=True)
    return project(GROUP, name, shows, counts, {"test_it.py": test})


_LEFT_BEHIND = (
    _leaves("mode-000", "folders that nobody may enter", """
for path in ("a/b/c", "d/e"):
    os.makedirs(path)
    open(path + "/file", "w").close()
for path in ("a/b/c", "a/b", "a", "d/e", "d", "."):
    os.chmod(path, 0)
""", ("passed", "crashed")),
    _leaves("1500-levels", "a folder 1500 levels deep", """
for _ in range(1500):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
"""),
    _leaves("30000-files", "thirty thousand files in one folder", """
os.mkdir("many")
with contextlib.suppress(OSError):
    for number in range(30000):
        os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
""", ("passed", "crashed")),
    _leaves("odd-names", "names with newlines, surrogates and dashes", r"""
for name in (b"\n", b"-rf", b"\xff\xfe", b"\xed\xa0\x80", b"a" * 255, b"\x1b[31m", b"*", b"$(id)", "\u202e".encode()):
    os.mkdir(name)
    os.close(os.open(name + b"/" + name, os.O_CREAT | os.O_WRONLY))
"""),
    _leaves("links-out", "links to everything outside, in place of its own folders", """
for number, path in enumerate((os.path.dirname(TARGET["canary_files"][0]), TARGET["data_dir"], TARGET["data_dir"] + "/work")):
    os.symlink(path, f"link{number}")
    os.mkdir(f"folder{number}")
    os.symlink(path, f"folder{number}/again")
os.rename("kit.py", "kit2.py")
os.symlink(TARGET["canary_files"][0], "kit.py")
"""),
    _leaves("replaces-its-folder", "a link in the place of the run's own folder", """
own = os.getcwd()
with contextlib.suppress(OSError):
    os.rename(own, own + "-moved")
    os.symlink(os.path.dirname(TARGET["canary_files"][0]), own)
""", ("passed", "crashed")),
    _leaves("special-files", "pipes and sockets among its files", """
os.mkfifo("pipe")
os.mkfifo("test_pipe.py")
left = socket.socket(socket.AF_UNIX)
left.bind("socket")
"""),
    _leaves("setuid-program", "a setuid program of its own", """
import shutil
shutil.copy(os.path.realpath("/bin/sh"), "shell")
with contextlib.suppress(OSError):
    os.chmod("shell", 0o6777)
"""),
    _leaves("immutable", "files that cannot be removed", """
import fcntl, struct
with open("fixed", "w") as file:
    attempt("immutable", fcntl.ioctl, file.fileno(), 0x40086602, struct.pack("l", 0x10),
            undo=lambda _: fcntl.ioctl(file.fileno(), 0x40086602, struct.pack("l", 0)))
"""),
    _leaves("writes-while-removed", "a process that writes while its folder is removed", """
def writes():
    number = 0
    while True:
        number += 1
        with contextlib.suppress(OSError):
            os.mkdir(f"more{number % 5000}")
for _ in range(3):
    fork_and(writes)
"""),
    _leaves("busy-folder", "a process that holds its folder as its own", """
spawn(cwd=os.getcwd(), start_new_session=True)
"""),
)  # fmt: skip

ATTACKS = (*_READING, *_WRITING, *_LEFT_BEHIND)
