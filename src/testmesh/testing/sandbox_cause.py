"""PURE but for `read_facts`: why this machine refuses namespaces or mounts, in a sentence that tells what to change.

The error number alone does not tell: seccomp, AppArmor, SELinux and the kernel's switches all answer with EPERM or
EACCES, each at another step. So each rule looks at the step, the number and what the machine shows of itself.

Only the standard library, and little of it: the launcher loads this.
"""

from __future__ import annotations

import errno
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The steps that are told apart, with words of the errors they give (see namespaces.py), the first that fits counts
_ID_MAPS, _ROOT, _PROC, _MOUNT, _NAMESPACES, _OTHER = "id maps", "root", "proc", "mount", "namespaces", "other"
_STEPS = {"pivot_root": _ROOT, "mount proc on": _PROC, "mount": _MOUNT, "clone": _NAMESPACES, "unshare": _NAMESPACES}
_MAPS = ("/uid_map'", "/gid_map'", "/setgroups'")

_CAP_SYS_ADMIN = 21
_FILTERED = 2  # /proc/self/status, Seccomp
_LIMITS = ("user", "mnt", "pid", "net", "ipc", "uts")  # sysctls user.max_X_namespaces
_REFUSED = (errno.EPERM, errno.EACCES)


class Facts:
    """What the machine shows of itself; None and "" where it does not."""

    __slots__ = ("has_user_namespaces", "is_privileged", "label", "limits", "masked", "seccomp", "switches", "system")

    def __init__(
        self,
        system: str = "linux",
        seccomp: int = 0,
        label: str = "",
        is_privileged: bool = False,
        has_user_namespaces: bool = True,
        limits: Mapping[str, int] | None = None,
        switches: Mapping[str, int] | None = None,
        masked: Sequence[str] = (),
    ) -> None:
        self.system = system  # sys.platform
        self.seccomp = seccomp  # 2: system calls are filtered
        self.label = label  # of AppArmor or SELinux for this process
        self.is_privileged = is_privileged  # has CAP_SYS_ADMIN
        self.has_user_namespaces = has_user_namespaces
        self.limits = dict(limits or {})  # sysctls user.*
        self.switches = dict(switches or {})  # sysctls kernel.*
        self.masked = tuple(masked)  # mounts on parts of /proc

    @property
    def is_confined_by_apparmor(self) -> bool:
        return self.label.endswith((" (enforce)", " (kill)"))

    @property
    def is_confined_by_selinux(self) -> bool:
        return self.label.count(":") >= 2 and ":unconfined_t:" not in self.label


def explain(reason: str, number: int | None, facts: Facts) -> str:
    """Why making a box failed, and what to change. `reason`: the words of the error; `number`: its errno."""
    words = reason.partition("] ")[2] if "[Errno " in reason else reason
    if words.endswith(_MAPS):
        step = _ID_MAPS
    elif number is None or words.endswith("'"):  # it is about some file
        return words
    else:
        step = next((step for word, step in _STEPS.items() if word in words), _OTHER)
    cause = "" if number is None else _cause(step, number, facts)
    return f"{cause} ({words})" if cause else words


def _cause(step: str, number: int, facts: Facts) -> str:  # noqa: PLR0911 - one for each kind of cause
    if facts.system != "linux":
        return f"this system ({facts.system}) has no Linux namespaces; run the service in Docker"
    if number in (errno.ENOSPC, errno.EUSERS):
        return _too_many(facts)
    if number in (errno.EAGAIN, errno.ENOMEM):
        return "the machine, or the limit of processes of this user or container, is short; free some or raise it"
    if step in (_NAMESPACES, _ID_MAPS) and not facts.has_user_namespaces:
        return "this kernel is built without user namespaces (CONFIG_USER_NS); use one that has them"
    if number in (*_REFUSED, errno.ENOSYS):
        return _refused(step, number, facts)
    if step == _ROOT and number == errno.EINVAL:
        return (
            "the root is the kernel's initial one, which cannot be changed; start the system from a disk or container"
        )
    return ""


def _too_many(facts: Facts) -> str:
    for name in _LIMITS:
        sysctl = f"user.max_{name}_namespaces"
        if facts.limits.get(sysctl) == 0:
            return f"the kernel's limit {sysctl} is 0; set it with `sysctl -w {sysctl}=15000`"
    return "too many namespaces are in use or they are nested too deep; raise the kernel's limits user.max_*_namespaces"


def _refused(step: str, number: int, facts: Facts) -> str:  # noqa: PLR0911 - one for each cause
    is_old_switch = facts.switches.get("kernel.unprivileged_userns_clone") == 0 and not facts.is_privileged
    if step == _NAMESPACES and number == errno.EPERM and is_old_switch:
        return (
            "the kernel's switch for user namespaces is off; "
            "turn it on with `sysctl -w kernel.unprivileged_userns_clone=1`"
        )
    if _is_restricted_by_apparmor(step, facts):
        return (
            "AppArmor restricts user namespaces, as Ubuntu does since 23.10; give the service's Python a profile that "
            "allows `userns`, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    if step == _PROC and number == errno.EPERM and facts.masked:
        return (
            f"parts of this container's /proc are masked ({', '.join(facts.masked[:3])}); start it with "
            "--security-opt systempaths=unconfined"
        )
    if number == errno.EACCES and facts.is_confined_by_apparmor:
        return _apparmor(facts)
    if number == errno.EACCES and facts.is_confined_by_selinux:
        return _selinux(facts)
    if facts.seccomp == _FILTERED:
        return (
            "a seccomp filter, as Docker's default one, forbids the system call; start the container with "
            "--security-opt seccomp=docker/seccomp.json (systemd: see SystemCallFilter and RestrictNamespaces)"
        )
    if facts.is_confined_by_apparmor:
        return _apparmor(facts)
    if facts.is_confined_by_selinux:
        return _selinux(facts)
    if step == _NAMESPACES:
        return "the kernel forbids this user to make namespaces; it may be in a chroot, where none can be made"
    return "the kernel forbids it to this user; see its log (dmesg)"


def _is_restricted_by_apparmor(step: str, facts: Facts) -> bool:
    """It lets an unprivileged process make a user namespace, without any power in it: what is next fails."""
    if facts.label.startswith("unprivileged_userns"):
        return True
    is_on = facts.switches.get("kernel.apparmor_restrict_unprivileged_userns", 0) != 0
    is_unconfined = not facts.is_confined_by_apparmor and not facts.is_confined_by_selinux
    is_step = step != _NAMESPACES or facts.seccomp != _FILTERED
    return is_on and is_unconfined and not facts.is_privileged and is_step


def _apparmor(facts: Facts) -> str:
    return (
        f"the AppArmor profile `{facts.label.rpartition(' ')[0]}` forbids it; start the container with "
        "--security-opt apparmor=unconfined, or with a profile that allows mounts and `userns`"
    )


def _selinux(facts: Facts) -> str:
    return (
        f"SELinux forbids it to `{facts.label}`; start the container with --security-opt label=disable, "
        "or allow it in the policy"
    )


# What the machine shows ----------------------------------------------------------------------


def read_facts(proc: str = "/proc", system: str = sys.platform) -> Facts:
    """The facts of this process: read them in one that is in no new namespace, where it would seem privileged."""
    status = dict(line.split(":", 1) for line in _read(f"{proc}/self/status").splitlines() if ":" in line)
    capabilities = int(status.get("CapEff", "0").strip() or "0", 16)
    label = _read(f"{proc}/self/attr/apparmor/current") or _read(f"{proc}/self/attr/current")
    limits = [f"max_{name}_namespaces" for name in _LIMITS]
    switches = ["unprivileged_userns_clone", "apparmor_restrict_unprivileged_userns"]
    return Facts(
        system=system,
        seccomp=int(status.get("Seccomp", "0").strip() or "0"),
        label=label.strip("\0\n "),
        is_privileged=bool(capabilities >> _CAP_SYS_ADMIN & 1),
        has_user_namespaces=bool(_read(f"{proc}/self/uid_map")),
        limits=_sysctls(proc, "user", limits),
        switches=_sysctls(proc, "kernel", switches),
        masked=_masked(_read(f"{proc}/self/mountinfo")),
    )


def _sysctls(proc: str, room: str, names: Sequence[str]) -> dict[str, int]:
    texts = {f"{room}.{name}": _read(f"{proc}/sys/{room}/{name}").strip() for name in names}
    return {name: int(text) for name, text in texts.items() if text.isdecimal()}


def _masked(mountinfo: str) -> list[str]:
    points = [fields[4] for line in mountinfo.splitlines() if len(fields := line.split()) > 4]
    return [point for point in points if point.startswith("/proc/")]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""
