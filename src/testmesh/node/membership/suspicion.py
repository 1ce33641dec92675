"""PURE: the members this node suspects, and how long each still has to show that it lives."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Suspicion:
    since: float
    until: float
    own: bool  # this node's own pings failed; else it is hearsay


class Suspicions:
    """Seconds on the monotonic clock. Who only heard of a suspicion waits `hearsay` times as long as who began it.

    Whoever began it pings the member all the while, so it is the first to know that it lives, and tells of its death at
    once; the others wait for it, and decide only where it is lost itself.
    """

    def __init__(self, timeout: float, hearsay: float) -> None:
        self._timeout = timeout
        self._hearsay = hearsay
        self._found: dict[str, _Suspicion] = {}

    def __contains__(self, address: str) -> bool:
        return address in self._found

    def heard(self, address: str, now: float) -> None:
        """Somebody suspects it, at an incarnation that this node did not know."""
        self._found[address] = _Suspicion(now, now + self._hearsay * self._timeout, own=False)

    def confirm(self, address: str, now: float) -> None:
        """This node could not reach it either."""
        suspicion = self._found[address]
        if not suspicion.own:
            suspicion.own = True
            suspicion.until = min(suspicion.until, now + self._timeout)

    def clear(self, address: str) -> None:
        self._found.pop(address, None)

    def own(self) -> list[str]:
        return sorted(address for address, suspicion in self._found.items() if suspicion.own)

    def expired(self, now: float) -> list[str]:
        return [address for address, suspicion in self._found.items() if now >= suspicion.until]

    def next_due(self) -> float:
        return min((suspicion.until for suspicion in self._found.values()), default=float("inf"))

    def extend(self, seconds: float, now: float) -> None:
        """This node stood still itself until now: in that time nobody could clear a suspicion with it."""
        for suspicion in self._found.values():
            suspicion.until += min(seconds, now - suspicion.since)
