"""Network namespaces: a node each. They have no name and are held by a descriptor, so none outlives who made it."""

import contextlib
import ctypes
import fcntl
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network of its own with `lo` up. The kernel removes it with its last process once `close` was called."""

    def __init__(self) -> None:
        """Raises OSError where this user may make none."""
        found: list[int | OSError] = []
        thread = threading.Thread(target=self._make, args=(found,))  # a namespace belongs to a thread: one that ends
        thread.start()
        thread.join()
        if isinstance(found[0], OSError):
            raise found[0]
        self._descriptor = found[0]
        with self.entered():
            # Nothing but IPv4, or the kernel chatters of routers and neighbours.
            for kind in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{kind}/disable_ipv6").write_text("1")
            _ip("link set lo up")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens or starts meanwhile is in the namespace, and stays there. Other threads are not."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _check(_libc.setns(self._descriptor, _CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(before, _CLONE_NEWNET))
        finally:
            os.close(before)

    def tap(self, mac: str, address: str, neighbours: dict[str, str]) -> int:
        """The descriptor of its only cable: read and write Ethernet frames. `neighbours`: MAC by address, for ever."""
        with self.entered():
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"mesh0", _IFF_TAP | _IFF_NO_PI))
            _ip(
                f"link set mesh0 address {mac} mtu 1500 up",
                f"address add {address}/24 dev mesh0",
                *(f"neigh add {other} lladdr {hardware} dev mesh0" for other, hardware in neighbours.items()),
            )
        return descriptor

    def session(self) -> requests.Session:
        """HTTP from inside: what is asked of the node at its own address never goes over the faulty network."""

        namespace = self

        class Connection(HTTPConnection):
            def _new_conn(self) -> Any:
                with namespace.entered():
                    return super()._new_conn()

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class Adapter(HTTPAdapter):
            def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
                super().init_poolmanager(*arguments, **named)
                self.poolmanager.pool_classes_by_scheme = {"http": Pool}

        session = requests.Session()
        session.trust_env = False
        session.mount("http://", Adapter(pool_maxsize=32))
        return session

    def close(self) -> None:
        os.close(self._descriptor)

    @staticmethod
    def _make(found: list[int | OSError]) -> None:
        try:
            _check(_libc.unshare(_CLONE_NEWNET))
            found.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        except OSError as error:
            found.append(error)


def reason_for_none() -> str:
    """Why this machine gives no networks of our own, or ""."""
    if os.geteuid() != 0:
        return "networks of the nodes' own need root"
    try:
        with contextlib.closing(Namespace()) as namespace:
            os.close(namespace.tap("02:00:00:00:00:01", "10.0.0.1", {}))
    except FileNotFoundError as error:
        return f"networks of the nodes' own need {error.filename} (iproute2, TUN/TAP)"
    except (OSError, subprocess.CalledProcessError) as error:
        return f"networks of the nodes' own cannot be made here: {error}"
    return ""


def _ip(*lines: str) -> None:
    run = partial(subprocess.run, ["ip", "-batch", "-"], check=True, capture_output=True, text=True)
    run(input="".join(f"{line}\n" for line in lines))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
