"""Runs attacks against a real node, many in one evaluation beside honest siblings, and looks around afterwards."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.attacks import bundle
from tests.attacks.aftermath import Before, while_there
from tests.attacks.judge import exactly, judge
from tests.attacks.model import Attack, Expected, NotPromised, Upload
from tests.attacks.siblings import EXACT, sibling
from tests.attacks.target import CannotRunError, Range
from tests.support.zips import make_zip

_SIBLINGS = 4
_UNHURRIED = {"module_timeout_s": 60.0}


@dataclass(frozen=True)
class Batch:
    """Attacks of one evaluation. `siblings`: how many honest projects run beside them."""

    name: str
    attacks: tuple[Attack, ...]
    options: Mapping[str, float]
    siblings: int = _SIBLINGS


@dataclass
class Outcome:
    """What is not as stated, by the attack's folder (or `around …` for what cannot be laid at one attack's door)."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    not_promised: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def add(self, name: str, faults: Iterable[str]) -> None:
        found = list(faults)
        if found:
            self.wrong.setdefault(name, []).extend(found)

    def take(self, other: "Outcome") -> None:
        """What another part of the same run found, too."""
        self.ran += other.ran
        self.not_promised |= other.not_promised
        for name, faults in other.wrong.items():
            self.add(name, faults)


def batches(attacks: Sequence[Attack]) -> list[Batch]:
    """By what they wait for, so that no quick one waits for a slow one's time limit."""
    quick = tuple(a for a in attacks if not a.takes_long and not a.installs)
    long = tuple(a for a in attacks if a.takes_long)
    installs = tuple(a for a in attacks if a.installs and not a.takes_long)
    found = (
        Batch("quick", quick, _UNHURRIED),
        Batch("long", long, {"module_timeout_s": 8, "install_timeout_s": 8}, siblings=2),
        Batch("installs", installs, {"module_timeout_s": 60, "install_timeout_s": 60}, siblings=2),
    )
    return [batch for batch in found if batch.attacks]


def run_batch(at: Range, batch: Batch, *, everything: bool = False, is_short: bool = False) -> Outcome:
    """All of a batch in one evaluation, then siblings in another, then a look around.

    `everything`: what the level does not promise too. `is_short`: mere attempts share modules.
    """
    outcome = Outcome()
    promised: list[tuple[Attack, Expected]] = []
    for attack in batch.attacks:
        stated = attack.expected if everything else _stated(at, attack)
        if isinstance(stated, NotPromised):
            outcome.not_promised[attack.folder] = stated.reason
        else:
            promised.append((attack, stated))
    if not promised:
        return outcome
    before = Before.of(at)
    together = [attack for attack, _ in promised if is_short and bundle.can_share(attack)]
    apart = [attack for attack, _ in promised if attack not in together]
    results, tests = _grade(at, _zip(at, apart, together, batch.siblings), batch.options)
    for attack, stated in promised:
        outcome.ran.append(attack.folder)
        place = bundle.folder_of(attack) if attack in together else attack.folder
        modules, own = results.get(place, {}), tests.get(place, [])
        if attack in together:
            modules, own = bundle.alone(attack, modules, own)
        outcome.add(attack.folder, judge(attack, stated, modules, own))
    around = f"around {batch.name}"
    outcome.add(around, _disturbed(results, tests, batch.siblings))
    outcome.add(around, _secrets_in(at, {"results": results, "tests": tests}))
    outcome.add(around, (f"later: {fault}" for fault in _disturbed(*_grade(at, _zip(at, (), (), 2)), 2)))
    outcome.add(around, before.differs(at))
    return outcome


def warm_up(at: Range) -> None:
    """Build the environment that all but the installs share.

    Raises:
        CannotRunError: there is none to be had. AssertionError: an honest project alone is not graded as it should be.
    """
    results, tests = _grade(at, _zip(at, (), (), 2))
    module = results["sibling-0"]["test_it.py"]
    if module["verdict"] == "infra_failed":
        raise CannotRunError(f"no environment with pytest can be made here: {module['detail']}")
    assert not _disturbed(results, tests, 2), _disturbed(results, tests, 2)


def _grade(
    at: Range, archive: bytes, options: Mapping[str, float] = _UNHURRIED
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and tests, by project."""
    document, tests = at.grade(archive, options)
    by_project: dict[str, Any] = {name: [] for name in document["module_results"]}
    for test in tests:
        by_project[test["project"]].append(test)
    return document["module_results"], by_project


def _disturbed(results: Mapping[str, Any], tests: Mapping[str, Any], siblings: int) -> list[str]:
    names = _sibling_names(siblings)
    return [f"{name}: {text}" for name in names for text in exactly(EXACT, results[name]["test_it.py"], tests[name])]


def run_uploads(at: Range, uploads: Sequence[Upload]) -> Outcome:
    outcome = Outcome()
    before = Before.of(at)
    kept = _kept(at)
    for upload in uploads:
        name = f"archives-{upload.name}"
        outcome.ran.append(name)
        answer = at.post(upload.archive())
        if answer.status_code != upload.status:
            outcome.add(name, [f"status {answer.status_code}, not {upload.status}: {answer.text[:200]}"])
        elif answer.headers["Content-Type"] != "application/problem+json":
            outcome.add(name, [f"it is answered with {answer.headers['Content-Type']}"])
        outcome.add(name, while_there(partial(_other_than, kept, at)))
        kept = _kept(at)
    outcome.add("around archives", before.differs(at))
    return outcome


def _stated(at: Range, attack: Attack) -> Any:
    if attack.group == "network" and at.loopback == "shared":
        return NotPromised("the loopback is shared")
    return attack.at_level(at.level)


def _sibling_names(count: int) -> list[str]:
    return [f"sibling-{number}" for number in range(count)]


def _zip(at: Range, apart: Sequence[Attack], together: Sequence[Attack], siblings: int) -> bytes:
    """The siblings spread evenly among the attacks."""
    kit = at.kit()
    projects = [(attack.folder, _carrying(kit, attack)) for attack in apart]
    projects += [(name, kit | files) for name, files in bundle.bundles(together)]
    every = len(projects) // max(1, siblings)
    for number, name in enumerate(_sibling_names(siblings)):
        projects.insert(number * (every + 1), (name, sibling(kit)))
    return make_zip([(f"{name}/{path}", content) for name, files in projects for path, content in files.items()])


def _carrying(kit: Mapping[str, str | bytes], attack: Attack) -> dict[str, str | bytes]:
    """A package of the project carries the kit too. An empty requirements.txt makes a project of a bare test file."""
    files = dict(kit)
    if any(path.startswith("package/") for path in attack.files):
        files |= {f"package/{path}": content for path, content in kit.items()}
    if attack.group != "installs":
        files["requirements.txt"] = ""
    return files | dict(attack.files)


def _secrets_in(at: Range, documents: Mapping[str, Any]) -> list[str]:
    found = []
    for name, document in documents.items():
        text = json.dumps(document, ensure_ascii=False)
        found += [f"a secret ({secret[:12]}…) is in the {name}" for secret in at.secrets if secret in text]
    return found


def _other_than(kept: set[str], at: Range) -> list[str]:
    return [f"in the data folder: {path}" for path in sorted(_kept(at) ^ kept)[:5]]


def _kept(at: Range) -> set[str]:
    if at.node is None:
        return set()
    folders = (at.node.data / name for name in ("incoming", "archives", "code", "work"))
    return {str(path) for folder in folders if folder.is_dir() for path in folder.rglob("*")}
