"""PURE: which node may believe which dead, and when: what scenarios did to them."""

from dataclasses import dataclass, field

HARMLESS_S = 2.0  # a silence of that length is no death (invariant E)
_AFTERMATH_S = 6.0  # news of a death that was one may come as late


@dataclass
class Window:
    """Something was wrong from `begin` to `end`, if it has one, with `what`: a node, or the cable between two.

    `is_process`: a process ended, which is noticed at once; silences count from HARMLESS_S on.
    """

    what: frozenset[int]
    begin: float
    is_process: bool
    end: float | None = None

    def excuses(self, pair: frozenset[int], at: float) -> bool:
        if not self.what <= pair or at < self.begin:
            return False
        if self.is_process:
            return self.end is None or at <= self.end + _AFTERMATH_S
        length = (at if self.end is None else self.end) - self.begin
        return length > HARMLESS_S and (self.end is None or at <= self.end + _AFTERMATH_S)


@dataclass
class Disturbances:
    windows: list[Window] = field(default_factory=list)

    def begin(self, *what: int, now: float, is_process: bool = False) -> None:
        """One number: a node. Two: the cable between them."""
        if not any(window.what == frozenset(what) and window.is_process == is_process for window in self._open()):
            self.windows.append(Window(frozenset(what), now, is_process))

    def end(self, *what: int, now: float) -> None:
        for window in self._open():
            if window.what == frozenset(what):
                window.end = now

    def is_excused(self, observer: int, about: int, at: float) -> bool:
        """Whether `observer` had reason to believe `about` dead."""
        return any(window.excuses(frozenset((observer, about)), at) for window in self.windows)

    def _open(self) -> list[Window]:
        return [window for window in self.windows if window.end is None]
