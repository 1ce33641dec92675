"""System calls that code under test has no need of. None does harm where it is let through: what succeeds is undone, and
what cannot be undone is called with arguments that the kernel refuses, only later than it refuses the right to call it."""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, escape

GROUP = "kernel"


def _escape(name: str, shows: str, refusals: int, body: str) -> Attack:
    return escape(GROUP, name, shows, body, refusals)


ATTACKS = (
    _escape("unshare-user", "a user namespace of its own", 1, "in_child(lambda: attempt_call('user', 'unshare', 0x10000000))"),
    _escape("unshare-others", "every other kind of namespace", 7, """
        for name, flag in {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000,
                           "net": 0x40000000, "time": 0x80}.items():
            in_child(lambda: attempt_call(name, "unshare", flag))
        """),
    _escape("clone-new-user", "a child in a user namespace of its own", 1, """
        def ended(got):
            if got == 0:
                os._exit(0)
        in_child(lambda: attempt_call("clone", "clone", 0x10000000 | 17, 0, 0, 0, 0, undo=ended))
        """),
    _escape("clone3-new-user", "the same by clone3, whose flags no filter sees", 1, """
        import struct
        flags = struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0)
        def ended(got):
            if got == 0:
                os._exit(0)
        in_child(lambda: attempt_call("clone3", "clone3", ctypes.c_char_p(flags), 64, undo=ended))
        """),
    _escape("unshare-program", "the unshare program", 1, """
        try:
            done = subprocess.run(["unshare", "-Urmpf", "true"], capture_output=True, timeout=5)
        except OSError as error:
            refused("unshare", error)
        else:
            escaped("unshare") if done.returncode == 0 else refused("unshare", done.stderr[:80])
        """),
    _escape("mount", "a tmpfs, a /proc and a bind mount", 3, """
        os.mkdir("mounted")
        os.mkdir("source")
        gone = lambda _: syscall("umount2", b"mounted", 2)
        for what, source, kind, flags in (("tmpfs", b"none", b"tmpfs", 0), ("proc", b"none", b"proc", 0),
                                          ("bind", b"source", b"none", 4096)):
            attempt_call(what, "mount", source, b"mounted", kind, flags, 0, undo=gone)
        """),
    _escape("unmount", "what the box has mounted over its inside", 3, """
        for path in ("/proc", "/tmp", "/dev/shm"):
            attempt_call(path, "umount2", path.encode(), 2 | 8) if is_apart("mnt") or is_powerless() else withheld(path)
        """),
    _escape("remount", "what is read-only made writable", 3, """
        for path in ("/", "/usr", sys.prefix):
            if is_apart("mnt") or is_powerless():
                attempt_call(path, "mount", b"none", path.encode(), b"none", 32 | 4096, 0)
            else:
                withheld(path)
        """),
    _escape("new-mount-calls", "fsopen, open_tree, move_mount, mount_setattr", 4, """
        attempt_call("fsopen", "fsopen", b"tmpfs", 0, undo=os.close)
        attempt_call("open_tree", "open_tree", -100, b"/", 1, undo=os.close)
        attempt_call("move_mount", "move_mount", -1, b"", -1, b"", 4)
        attempt_call("mount_setattr", "mount_setattr", -1, b"", 0, 0, 0)
        """),
    _escape("other-root", "chroot and pivot_root", 2, """
        in_child(lambda: attempt_call("chroot", "chroot", b"."))
        in_child(lambda: attempt_call("pivot_root", "pivot_root", b"/nowhere-at-all-" * 300, b"."))
        """),
    _escape("setns", "the namespaces of other processes", 2, """
        for pid in (parent(), TARGET["node_pid"]):
            for kind in ("user", "mnt", "pid", "net", "ipc"):
                def joins():
                    descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
                    syscall("setns", descriptor, 0)
                in_child(lambda: attempt(f"{kind} of {pid}", joins))
        """),
    _escape("keys", "keyrings, which know no namespace", 2, """
        attempt_call("add_key", "add_key", b"user", MARK.encode(), b"x", 1, -2)
        attempt_call("keyctl", "keyctl", 0, -4, 0)
        """),
    _escape("bpf", "a map for programs in the kernel", 1, """
        import struct
        attempt_call("bpf", "bpf", 0, ctypes.c_char_p(struct.pack("4I", 2, 4, 4, 1) + bytes(112)), 128, undo=os.close)
        """),
    _escape("perf", "performance counters", 1, """
        import struct
        attempt_call("perf", "perf_event_open", ctypes.c_char_p(struct.pack("2I", 1, 112) + bytes(104)), 0, -1, -1, 0, undo=os.close)
        """),
    _escape("userfaultfd", "page faults in its own hands", 1, "attempt_call('userfaultfd', 'userfaultfd', 0x80000, undo=os.close)"),
    _escape("io-uring", "system calls past the filter", 1, """
        attempt_call("io_uring", "io_uring_setup", 4, ctypes.create_string_buffer(256), undo=os.close)
        """),
    _escape("ptrace", "another process's life", 1, """
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"attach to {pid}", syscall, "ptrace", 0x4206, pid, 0, 0, undo=lambda _: syscall("ptrace", 17, pid, 0, 0))
        """),
    _escape("process-memory", "another process's memory by process_vm_readv", 1, """
        buffer = ctypes.create_string_buffer(64)
        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        mine, theirs = Vector(ctypes.addressof(buffer), 64), Vector(0x1000, 64)
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            try:
                syscall("process_vm_readv", pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
            except OSError as error:
                if error.errno == errno.EFAULT:
                    escaped(f"memory of {pid}")
                else:
                    refused(f"memory of {pid}", error)
        """),
    _escape("pidfd-getfd", "another process's descriptors", 1, """
        def takes(pid):
            handle = syscall("pidfd_open", pid, 0)
            try:
                return syscall("pidfd_getfd", handle, 0, 0)
            finally:
                os.close(handle)
        for pid in [parent(), TARGET["node_pid"], *other_processes()]:
            attempt(f"descriptor of {pid}", takes, pid, undo=os.close)
        """),
    _escape("file-handles", "files by their number on the disk", 1, """
        import struct
        handle = struct.pack("Ii", 8, 1) + struct.pack("II", 2, 0)
        attempt_call("handle of /", "open_by_handle_at", -100, ctypes.c_char_p(handle), 0, undo=os.close)
        """),
    _escape("kexec-and-modules", "another kernel, or parts of one", 3, """
        attempt_call("kexec", "kexec_load", 0, 0, 0, 0x0000FFF8)
        attempt_call("init_module", "init_module", 0, 0, b"")
        attempt_call("finit_module", "finit_module", -1, b"", 0)
        """),
    _escape("reboot", "the machine's end (with numbers that the kernel does not take)", 2, """
        attempt_call("reboot", "reboot", 0, 0, 0, 0)
        attempt_call("swapon", "swapon", 0, 0)
        """),
    _escape("clock-and-name", "the machine's clock and name", 2, """
        attempt_call("clock", "settimeofday", 0, 0)
        attempt("name", socket.sethostname, socket.gethostname())
        """),
    _escape("kernel-messages", "the kernel's log", 1, "attempt_call('syslog', 'syslog', 10, 0, 0)"),
    _escape("ports-of-the-processor", "input and output past the kernel", 1, "attempt_call('iopl', 'iopl', 3)"),
    _escape("odd-sockets", "socket families with a history of holes", 11, """
        families = {"vsock": (40, 1), "alg": (38, 5), "packet": (17, 3), "can": (29, 3), "bluetooth": (31, 3), "rds": (21, 5),
                    "tipc": (30, 5), "xdp": (44, 3), "key": (15, 3), "x25": (9, 5), "kcm": (41, 2)}
        for name, (family, kind) in families.items():
            attempt(name, lambda: socket.socket(family, kind, 2 if name == "key" else 0), undo=lambda got: got.close())
        """),
    _escape("netlink", "netlink families that no test needs", 3, """
        for name, number in {"netfilter": 12, "audit": 9, "crypto": 21}.items():
            attempt(name, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, number), undo=lambda got: got.close())
        """),
    _escape("terminal-input", "keys typed into a terminal", 2, """
        import fcntl
        attempt("/dev/tty", opens, "/dev/tty", os.O_RDWR)
        master, slave = os.openpty()
        attempt("TIOCSTI", fcntl.ioctl, slave, 0x5412, b"x")
        attempt("TIOCLINUX", fcntl.ioctl, slave, 0x541C, b"\\x03")
        """),
    _escape("limits-of-others", "the limits of process 1 and its own hard ones", 3, """
        import resource
        if is_apart("pid"):
            attempt("of process 1", lambda: resource.prlimit(1, resource.RLIMIT_CORE, (0, 0)))
        else:
            refused("of process 1", "not looked at on the machine itself")
        for name in ("NPROC", "FSIZE", "CORE", "NOFILE", "CPU", "AS"):
            kind = getattr(resource, "RLIMIT_" + name)
            hard = resource.getrlimit(kind)[1]
            if hard != resource.RLIM_INFINITY:
                attempt(name, resource.setrlimit, kind, (hard, hard + 1))
        """),
    _escape("priority", "before everybody else", 2, """
        in_child(lambda: attempt("nice", os.nice, -5))
        in_child(lambda: attempt("real time", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)))
        """),
)  # fmt: skip
