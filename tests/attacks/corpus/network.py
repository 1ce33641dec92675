"""Ways off the box: to the node, the machine, its network and beyond.

Whatever would leave this machine is tried only behind a wall: in a network namespace of its own.
"""

# ruff: noqa: E501 - attacks are texts

from tests.attacks.model import Attack, Expected, escape, project

GROUP = "network"


def _escape(name: str, shows: str, refusals: int, body: str) -> Attack:
    return escape(GROUP, name, shows, body, refusals)


ATTACKS = (
    _escape("node-by-loopback", "the node's API on 127.0.0.1", 1, """
        attempt("node", connects, "127.0.0.1", TARGET["node_port"])
        """),
    _escape("node-by-address", "the node's API on the machine's addresses", 1, """
        for address in TARGET["addresses"]:
            attempt(address, connects, address, TARGET["node_port"])
        """),
    _escape("trap-by-loopback", "a server of the machine on 127.0.0.1", 2, """
        for address in ("127.0.0.1", "localhost"):
            attempt(address, connects, address, TARGET["trap_port"])
        """),
    _escape("trap-by-address", "a server of the machine on its addresses", 1, """
        for address in TARGET["addresses"]:
            attempt(address, connects, address, TARGET["trap_port"])
        """),
    _escape("trap-by-ipv6", "the same by IPv6 and by an IPv4 address in IPv6", 2, """
        for address in ("::1", "::ffff:127.0.0.1"):
            attempt(address, connects, address, TARGET["trap_port"])
        """),
    _escape("trap-by-udp", "datagrams to the machine", 1, """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for address in ("127.0.0.1", *TARGET["addresses"]):
                with contextlib.suppress(OSError):
                    sender.sendto(MARK.encode(), (address, TARGET["trap_port"]))
        refused("datagrams", "the trap tells whether they came")
        """),
    _escape("metadata-service", "a cloud's service of credentials, 169.254.169.254", 1, """
        if is_apart("net"):
            attempt("169.254.169.254", connects, "169.254.169.254", 80)
        else:
            withheld("169.254.169.254")
        """),
    _escape("elsewhere", "another machine", 2, """
        for address in ("192.0.2.1", "10.255.255.1"):
            if is_apart("net"):
                attempt(address, connects, address, 443, 1.0)
            else:
                withheld(address)
        """),
    _escape("names", "a question to the machine's name servers", 1, """
        if is_apart("net"):
            attempt("example.com", socket.getaddrinfo, "example.com", 80)
        else:
            withheld("example.com")
        """),
    _escape("abstract-socket", "a server of the machine on an abstract socket", 1, """
        def to(address):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
        attempt("abstract", to, "\\0" + TARGET["abstract"])
        """),
    _escape("unix-socket", "a server of the machine on a socket file", 1, """
        def to(address):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
        attempt("socket file", to, TARGET["unix"])
        """),
    _escape("services-of-the-machine", "the sockets of Docker, containerd, D-Bus and systemd", 4, """
        def to(address):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
        for path in ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket",
                     "/run/systemd/private"):
            attempt(path, to, path)
        """),
    _escape("raw-sockets", "ICMP and packets of its own making", 3, """
        for name, kind, number in (("icmp", socket.SOCK_RAW, 1), ("tcp", socket.SOCK_RAW, 6), ("raw", socket.SOCK_RAW, 255)):
            attempt(name, lambda: socket.socket(socket.AF_INET, kind, number), undo=lambda got: got.close())
        """),
    _escape("interfaces", "the network's own settings", 2, """
        import fcntl, struct
        if is_apart("net"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                attempt("loopback down", fcntl.ioctl, control, 0x8914, struct.pack("16sh14x", b"lo", 0))
                attempt("an address", fcntl.ioctl, control, 0x8916, struct.pack("16sHH4s8x", b"lo", 2, 0, bytes((10, 9, 8, 7))))
        else:
            withheld("interfaces")
        """),
    project(GROUP, "left-listening", "a server on all addresses, left running",
            Expected(("passed",), passed=1, failed=0, is_tried=True), {"test_it.py": """
        from kit import *

        def test_attack():
            tried("left-listening")
            server = socket.create_server(("0.0.0.0", TARGET["left_port"]))
            fork_and(for_a_minute)
        """}),
    project(GROUP, "the-node-s-own-port", "a server where the node listens, in its own loopback",
            Expected(("passed",), passed=1, failed=0, is_tried=True), {"test_it.py": """
        from kit import *

        def test_attack():
            tried("the-node-s-own-port")
            if is_apart("net"):
                for address in ("127.0.0.1", "0.0.0.0"):
                    socket.create_server((address, TARGET["node_port"])).close()
        """}),
)  # fmt: skip
