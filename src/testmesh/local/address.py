"""This machine's address, as others reach it."""

import socket
import sys


def routed_address(towards: str = "192.0.2.1") -> str:
    """The own address from which `towards` is reached; the loopback's where there is no route.

    Connecting a datagram socket sends nothing: it makes the kernel choose a route. The default is an address
    reserved for documentation, so it chooses the default route.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def is_port_free(port: int, host: str = "") -> bool:
    """Whether this process could listen on it; False as well where it may not (below 1024)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


if __name__ == "__main__":
    sys.stdout.write(routed_address() + "\n")
