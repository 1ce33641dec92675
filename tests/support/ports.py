"""Ports for what must know its own before it starts, and which nobody else gets meanwhile: tests run side by side."""

import contextlib
import random
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """So many in a row. Until the context ends only servers listen there that were told to.

    A socket that is bound and does not listen keeps its port from whoever asks for a free one. It keeps no server from
    it that sets SO_REUSEADDR, as they do, once the socket has set that too.
    """
    while True:
        first = random.randrange(15_000, 32_000)  # below those that connections get
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    taken = held.enter_context(socket.socket())
                    taken.bind(("", port))
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            except OSError:
                continue
            yield list(range(first, first + count))
            return


def free_ports(count: int) -> list[int]:
    """So many in a row, for servers that may not set SO_REUSEADDR: whoever else asks can get them too."""
    with reserved_ports(count) as ports:
        return ports
