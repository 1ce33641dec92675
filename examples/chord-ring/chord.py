"""Where a key lives on a ring of nodes."""

import hashlib


def ring_hash(text, bits=10):
    return int.from_bytes(hashlib.sha1(text.encode()).digest(), "big") % 2**bits


def contains(begin, end, node):
    """Whether node is in (begin, end] on the ring."""
    if begin < end:
        return begin < node <= end
    return node > begin or node <= end


def successor(key, nodes):
    return min((node for node in nodes if node >= key), default=min(nodes))


def finger_table(node, nodes, bits=10):
    return [successor((node + 2**i) % 2**bits, nodes) for i in range(bits)]
