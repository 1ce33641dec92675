"""PURE: the colour of each status, verdict and outcome."""

_STYLES = {
    "passed": "green",
    "done": "green",
    "ok": "green",
    "failed": "red",
    "running": "cyan",
    "pending": "dim",
    "queued": "dim",
    "skipped": "dim",
    "xfailed": "dim",
    "cancelled": "dim",
    "no_tests": "yellow",
    "xpassed": "yellow",
    "draining": "yellow",
    "left": "dim",
    "suspect": "yellow",
    "infra_failed": "magenta",
    "source_failed": "magenta",
}


def style_of(word: str) -> str:
    """Red for what is not known: it is an error of some kind."""
    return _STYLES.get(word, "red")
