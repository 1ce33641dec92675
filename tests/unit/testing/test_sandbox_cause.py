"""Each way a machine refuses a box is told from the others, with what to change."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testmesh.testing import namespaces
from testmesh.testing.sandbox_cause import Facts, explain, read_facts

# As the system calls' wrappers and Python tell them
NAMESPACES, MOUNT, PIVOT_ROOT = "clone: {}", "mount tmpfs on /tmp: {}", "pivot_root: {}"
MOUNT_PROC, ID_MAPS, LOOPBACK = "mount proc on /proc/self/fd/9/proc: {}", "{}: '/proc/self/uid_map'", "{}"
RESTRICTED = {"kernel.apparmor_restrict_unprivileged_userns": 1}
OLD_SWITCH = {"kernel.unprivileged_userns_clone": 0}
IN_DOCKER = Facts(seccomp=2)
WITH_APPARMOR = Facts(seccomp=2, label="docker-default (enforce)")
UBUNTU = Facts(switches=RESTRICTED, label="unconfined")
SELINUX = Facts(label="system_u:system_r:container_t:s0:c1,c2", seccomp=2)
FEDORA = Facts(label="unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023")
MASKED = Facts(seccomp=2, masked=("/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/scsi"))

TABLE = {
    "macOS": (NAMESPACES, errno.ENOSYS, Facts(system="darwin"), "run the service in Docker"),
    "Docker's seccomp, unshare": (NAMESPACES, errno.EPERM, IN_DOCKER, "seccomp=docker/seccomp.json"),
    "Docker's seccomp, clone3": (NAMESPACES, errno.ENOSYS, IN_DOCKER, "seccomp=docker/seccomp.json"),
    "Docker's seccomp, with AppArmor": (NAMESPACES, errno.EPERM, WITH_APPARMOR, "seccomp=docker/seccomp.json"),
    "Docker's seccomp on Ubuntu": (
        NAMESPACES,
        errno.EPERM,
        Facts(seccomp=2, switches=RESTRICTED),
        "seccomp=docker/seccomp.json",
    ),
    "Docker's AppArmor, mount": (MOUNT, errno.EACCES, WITH_APPARMOR, "apparmor=unconfined"),
    "Docker's AppArmor, its name": (MOUNT, errno.EACCES, WITH_APPARMOR, "`docker-default`"),
    "Docker's AppArmor, /proc": (
        MOUNT_PROC,
        errno.EACCES,
        Facts(label="docker-default (enforce)", masked=("/proc/kcore",)),
        "apparmor=unconfined",
    ),
    "AppArmor alone": (PIVOT_ROOT, errno.EPERM, Facts(label="a b (enforce)"), "`a b`"),
    "AppArmor that only complains": (MOUNT, errno.EPERM, Facts(label="x (complain)", seccomp=2), "seccomp"),
    "Ubuntu, the map": (ID_MAPS, errno.EPERM, UBUNTU, "kernel.apparmor_restrict_unprivileged_userns=0"),
    "Ubuntu, the map, older": (ID_MAPS, errno.EACCES, UBUNTU, "kernel.apparmor_restrict_unprivileged_userns=0"),
    "Ubuntu, the namespace": (NAMESPACES, errno.EACCES, UBUNTU, "kernel.apparmor_restrict_unprivileged_userns=0"),
    "Ubuntu, the loopback": (LOOPBACK, errno.EPERM, UBUNTU, "kernel.apparmor_restrict_unprivileged_userns=0"),
    "Ubuntu, in a container": (
        MOUNT,
        errno.EPERM,
        Facts(seccomp=2, switches=RESTRICTED),
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "Ubuntu, the label tells": (MOUNT, errno.EPERM, Facts(label="unprivileged_userns (enforce)"), "Ubuntu"),
    "Ubuntu, root": (MOUNT, errno.EPERM, Facts(switches=RESTRICTED, is_privileged=True, seccomp=2), "seccomp"),
    "Ubuntu, switched off": (ID_MAPS, errno.EPERM, Facts(switches=dict.fromkeys(RESTRICTED, 0)), "dmesg"),
    "Debian's old switch": (NAMESPACES, errno.EPERM, Facts(switches=OLD_SWITCH), "kernel.unprivileged_userns_clone=1"),
    "Debian's old switch, root": (
        NAMESPACES,
        errno.EPERM,
        Facts(switches=OLD_SWITCH, is_privileged=True, seccomp=2),
        "seccomp",
    ),
    "no user namespaces": (
        NAMESPACES,
        errno.ENOSPC,
        Facts(limits={"user.max_user_namespaces": 0, "user.max_net_namespaces": 5}),
        "user.max_user_namespaces=15000",
    ),
    "no network namespaces": (
        NAMESPACES,
        errno.ENOSPC,
        Facts(limits={"user.max_user_namespaces": 5, "user.max_net_namespaces": 0}),
        "user.max_net_namespaces=15000",
    ),
    "too many": (NAMESPACES, errno.ENOSPC, Facts(limits={"user.max_net_namespaces": 5}), "in use"),
    "too deep, an old kernel": (NAMESPACES, errno.EUSERS, Facts(), "nested too deep"),
    "SELinux": (NAMESPACES, errno.EACCES, SELINUX, "label=disable"),
    "SELinux, its label": (MOUNT, errno.EACCES, SELINUX, "`system_u:system_r:container_t:s0:c1,c2`"),
    "SELinux that lets all pass": (NAMESPACES, errno.EPERM, FEDORA, "chroot"),
    "masked /proc": (MOUNT_PROC, errno.EPERM, MASKED, "systempaths=unconfined"),
    "masked /proc, what": (MOUNT_PROC, errno.EPERM, MASKED, "(/proc/kcore, /proc/keys, /proc/acpi)"),
    "masked, but another step": (MOUNT, errno.EPERM, MASKED, "seccomp=docker/seccomp.json"),
    "not built in": (NAMESPACES, errno.EINVAL, Facts(has_user_namespaces=False), "CONFIG_USER_NS"),
    "no more processes": (NAMESPACES, errno.EAGAIN, IN_DOCKER, "short"),
    "an initial root": (PIVOT_ROOT, errno.EINVAL, Facts(), "initial"),
    "nothing is known": (MOUNT, errno.EPERM, Facts(), "dmesg"),
}


@pytest.mark.parametrize(("step", "number", "facts", "said"), TABLE.values(), ids=TABLE)
def test_what_is_said(step: str, number: int, facts: Facts, said: str) -> None:
    words = step.format(os.strerror(number))
    sentence = explain(f"PermissionError: [Errno {number}] {words}", number, facts)
    assert said in sentence
    assert sentence.endswith(f" ({words})")
    assert "\n" not in sentence


def test_what_is_no_such_refusal_is_told_as_it_is() -> None:
    assert explain("it did not start in time", None, IN_DOCKER) == "it did not start in time"
    assert explain("OSError: [Errno 5] mount x on y: bad", errno.EIO, IN_DOCKER) == "mount x on y: bad"
    a_file = "Permission denied: '/root/clone/python3'"
    assert explain(f"PermissionError: [Errno 13] {a_file}", errno.EACCES, WITH_APPARMOR) == a_file


@pytest.mark.skipif(sys.platform != "linux", reason="makes Linux's system calls")
@pytest.mark.parametrize("call", [namespaces.change_root, lambda path: namespaces.map_ids(path, 0, 0, 0)])
def test_the_errors_of_this_project_are_no_refusal_unless_they_are(call: Callable[[str], None], tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        call(str(tmp_path / "none"))
    assert "seccomp" not in explain(f"{type(error.value).__name__}: {error.value}", error.value.errno, IN_DOCKER)


@pytest.mark.skipif(sys.platform != "linux", reason="makes Linux's system calls")
def test_the_words_of_a_refused_mount_are_known(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        namespaces.mount("proc", str(tmp_path / "none"), "proc", 0)
    said = explain(f"FileNotFoundError: {error.value}", errno.EPERM, MASKED)
    assert "systempaths=unconfined" in said


def machine(proc: Path, files: dict[str, str]) -> Facts:
    for name, text in files.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)
    return read_facts(str(proc), "linux")


def test_the_facts_of_a_container(tmp_path: Path) -> None:
    facts = machine(
        tmp_path,
        {
            "self/status": "Name:\ta: b\nUid:\t0\t0\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nSeccomp_filters:\t1\n",
            "self/attr/current": "docker-default (enforce)\n",
            "self/uid_map": "0 0 4294967295\n",
            "self/mountinfo": (
                "1 0 0:5 / / rw - overlay o rw\n2 1 0:6 / /proc rw - proc proc rw\n"
                "3 2 0:7 /null /proc/kcore rw - tmpfs tmpfs rw\n4 2 0:6 /sys /proc/sys ro - proc proc rw\n"
            ),
            "sys/user/max_user_namespaces": "0\n",
            "sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        },
    )
    assert (facts.seccomp, facts.label, facts.is_privileged) == (2, "docker-default (enforce)", False)
    assert facts.has_user_namespaces
    assert facts.limits == {"user.max_user_namespaces": 0}
    assert facts.switches == RESTRICTED
    assert facts.masked == ("/proc/kcore", "/proc/sys")


def test_the_label_of_apparmor_beside_another_module(tmp_path: Path) -> None:
    files = {"self/attr/current": "_", "self/attr/apparmor/current": "x (kill)\n", "self/status": "CapEff:\t200000\n"}
    facts = machine(tmp_path, files)
    assert (facts.label, facts.is_privileged, facts.is_confined_by_apparmor) == ("x (kill)", True, True)


def test_a_machine_that_shows_nothing(tmp_path: Path) -> None:
    facts = read_facts(str(tmp_path), "darwin")
    assert (facts.system, facts.seccomp, facts.label, facts.limits, facts.masked) == ("darwin", 0, "", {}, ())
    assert not facts.has_user_namespaces


def test_this_machine_can_be_read() -> None:
    facts = read_facts()
    assert facts.seccomp in (0, 1, 2)
    assert all(number >= 0 for number in facts.limits.values())
