"""PURE: whether an attack ended as stated, from what the API says of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.attacks.model import Attack, Expected

_SAID = re.compile(r"^(TRIED|REFUSED|ESCAPED|WITHHELD|FOUND):(.*)$", re.MULTILINE)
_CUT_SHORT = ("crashed", "timeout", "failed", "env_failed")  # verdicts that may keep an attack from saying anything


def judge(
    attack: Attack,
    expected: Expected,
    modules: Mapping[str, Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What is not as stated, a sentence each. `modules` and `tests`: the project's, as the API gives them."""
    module = modules.get("test_it.py")
    if module is None:
        return [f"the project has no module test_it.py but {sorted(modules)}"]
    wrong = _differs(expected, module)
    for name, other in modules.items():
        if name != "test_it.py" and (other["verdict"], other["failed"]) != ("passed", 0):
            wrong.append(f"{name} is {other['verdict']}: {other['detail'][:200]}")
    return wrong + _told(attack, expected, module["verdict"], tests)


def exactly(expected: Expected, module: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs in an honest module, with the tests that should not have failed."""
    wrong = _differs(expected, module)
    if wrong:
        wrong += [f"{t['name']}: {t['longrepr'][-300:]}" for t in tests if t["outcome"] in ("failed", "error")]
    return wrong


def _differs(expected: Expected, module: Mapping[str, Any]) -> list[str]:
    wrong = []
    shown = f"{module['verdict']} {[module[key] for key in ('passed', 'failed', 'errors', 'skipped')]}"
    if module["verdict"] not in expected.verdicts:
        wrong.append(f"{shown}, not {' or '.join(expected.verdicts)}: {module['detail'][:300]}")
    for key in ("passed", "failed", "errors", "skipped"):
        wanted = getattr(expected, key)
        if wanted is not None and module[key] != wanted:
            wrong.append(f"{key} is {module[key]}, not {wanted} ({shown}: {module['detail'][:200]})")
    if not re.search(expected.detail, module["detail"]):
        wrong.append(f"detail lacks {expected.detail!r}: {module['detail'][:300]!r}")
    return wrong


def _told(attack: Attack, expected: Expected, verdict: str, tests: Sequence[Mapping[str, Any]]) -> list[str]:
    said = _SAID.findall("\n".join(test["stdout"] for test in tests))
    wrong = [f"{kind}: {what}" for kind, what in said if kind in ("ESCAPED", "WITHHELD")]
    if verdict in _CUT_SHORT and not wrong and verdict in expected.verdicts:
        return []
    if expected.is_tried and ("TRIED", attack.name) not in said:
        wrong.append("it does not say that it ran")
    refusals = sum(kind == "REFUSED" for kind, _ in said)
    if refusals + len(wrong) < expected.refusals:
        wrong.append(f"{refusals} attempts were refused, not {expected.refusals}")
    failures = [t["longrepr"][-300:] for t in tests if t["outcome"] == "failed" and "failed" not in expected.verdicts]
    return wrong + [f"its test failed: {text}" for text in failures]
