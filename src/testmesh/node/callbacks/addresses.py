"""PURE: which addresses a callback may go to.

A submitter chooses the host, and the node asks from inside its network: what only that network can reach is refused.
The blocks are those of the IANA special-purpose registries, spelled out so that they are the same with every Python.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

# Of the operator's own networks: allowed where he says so.
_PRIVATE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
# Nobody's receiver, or one that gives out credentials: never.
_NEVER = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "100.100.100.200/32",  # metadata services of clouds, up to the four of IPv6
            "168.63.129.16/32",
            "169.254.169.254/32",
            "169.254.170.2/32",
            "169.254.170.23/32",
            "fd00:ec2::23/128",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "2001::/23",  # among them Teredo, which hides the address that is meant
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_GLOBAL = IPv6Network("2000::/3")
_MAPPED, _NAT64, _SIX_TO_FOUR = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")


def is_allowed(address: str, *, private: bool) -> bool:
    """Whether this IP address may be called; `private`: also one of the operator's own networks.

    Of an IPv6 address that stands for an IPv4 one, that decides. What is no address, or has a zone, is not allowed.
    """
    try:
        meant = _meant(address)
    except ValueError:
        return False
    if any(meant in block for block in _NEVER):
        return False
    if any(meant in block for block in _PRIVATE):
        return private
    return isinstance(meant, IPv4Address) or meant in _GLOBAL


def _meant(address: str) -> IPv4Address | IPv6Address:
    """Raises ValueError for what is no address."""
    if "%" in address:
        raise ValueError("a zone is of this machine alone")
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        if found in _MAPPED or found in _NAT64:
            return IPv4Address(int(found) & 0xFFFFFFFF)
        if found in _SIX_TO_FOUR:
            return IPv4Address(int(found) >> 80 & 0xFFFFFFFF)
    return found
