"""PURE: mere attempts put together, a test each in one module a group: starting pytest costs more than most of them.

The short form uses it; the whole corpus runs each attack in a project of its own.
"""

from collections.abc import Mapping, Sequence
from textwrap import dedent, indent
from typing import Any

from tests.attacks.model import Attack

_SHARED = ("files", "kernel", "network", "neighbours")


def can_share(attack: Attack) -> bool:
    return bool(attack.body) and attack.group in _SHARED and not attack.takes_long


def folder_of(attack: Attack) -> str:
    return f"bundle-{attack.group}"


def bundles(attacks: Sequence[Attack]) -> list[tuple[str, dict[str, str | bytes]]]:
    """Folder and files of one project a group."""
    texts: dict[str, list[str]] = {}
    for attack in attacks:
        body = indent(dedent(attack.body).strip(), "    ")
        text = f"\n\ndef {name_of_test(attack)}():\n    tried({attack.name!r})\n{body}\n"
        texts.setdefault(folder_of(attack), ["from kit import *\n"]).append(text)
    return [(folder, {"requirements.txt": "", "test_it.py": "".join(parts)}) for folder, parts in texts.items()]


def name_of_test(attack: Attack) -> str:
    return "test_" + "".join(letter if letter.isalnum() else "_" for letter in attack.name)


def alone(
    attack: Attack, modules: Mapping[str, Mapping[str, Any]], tests: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], list[Mapping[str, Any]]]:
    """Its part of a shared module, as if it had had one of its own."""
    own = [test for test in tests if test["name"] == name_of_test(attack)]
    passed = [test["outcome"] for test in own] == ["passed"]
    whole = modules.get("test_it.py", {"detail": "the module is missing"})
    counts = {"passed": int(passed), "failed": int(not passed), "errors": 0, "skipped": 0}
    return {"test_it.py": {"verdict": "passed" if passed else "failed", "detail": whole["detail"], **counts}}, own
