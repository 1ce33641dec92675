"""Records for tests: short to write by hand, and generated."""

from typing import Any

from hypothesis import strategies as st

from testmesh.model import (
    Counts,
    Evaluation,
    ModulePlan,
    ModuleState,
    Options,
    Project,
    Pruned,
    PrunedShare,
    Source,
    SourceKind,
    TestResult,
    Verdict,
)
from testmesh.node.storage.replica import Changes, ModuleRecord

ARCHIVE = "a" * 64


def evaluation(
    evaluation_id: str = "e1", projects: dict[str, list[str]] | None = None, owner: str = "a:1", **fields: Any
) -> Evaluation:
    """One resolved source with these projects and modules."""
    plans = {"p": ["test_1.py"]} if projects is None else projects
    found = tuple(Project(name, name, tuple(map(ModulePlan, modules))) for name, modules in plans.items())
    source = Source(SourceKind.ZIP, "upload", archive=ARCHIVE, projects=found)
    return Evaluation(
        evaluation_id, fields.pop("submitted_at", 100.0), owner, fields.pop("sources", (source,)), **fields
    )


# Generated -----------------------------------------------------------------------------------
# From few values, so that records collide in every field, in every mixture.

_small = st.integers(0, 2)
_times = st.sampled_from([0.0, 1.0, 2.5])
_nodes = st.sampled_from(["a:1", "b:1"])
_texts = st.sampled_from(["", "x", "é\n\0"])
_names = st.sampled_from(["p", "q"])
_archives = st.none() | st.sampled_from([ARCHIVE, "b" * 64])

counts = st.builds(Counts, _small, _small, _small, _small)
test_results = st.builds(TestResult, _names, st.sampled_from(["passed", "failed"]), _times, _texts)
_contents = st.sampled_from(["", "c1", "c2"])
_paths = st.sampled_from(["test_1.py", "test_2.py"])
_plans = st.builds(ModulePlan, _paths, st.integers(1, 2), st.booleans(), _contents, _times)
projects = st.builds(Project, _names, _names, st.tuples(_plans), _texts)
sources = st.builds(
    Source,
    st.sampled_from(SourceKind),
    _names,
    st.none() | _names,
    st.none() | _names,
    _archives,
    st.lists(projects, max_size=2).map(tuple),
    st.none() | _names,
    _small,
)
pruned = st.builds(
    Pruned,
    st.lists(
        st.builds(
            PrunedShare, st.sampled_from(["", "a:1", "b:1"]), st.lists(_names, max_size=2).map(tuple), counts, _small
        ),
        max_size=2,
    ).map(tuple),
    st.lists(st.sampled_from([ARCHIVE, "b" * 64]), max_size=1).map(tuple),
)
evaluations = st.builds(
    Evaluation,
    st.sampled_from(["e1", "e2", "e3"]),
    _times,
    _nodes,
    st.lists(sources, min_size=1, max_size=2).map(tuple),
    st.sampled_from([Options(), Options(), Options(module_timeout_s=5.0), Options(callback_url="http://x.org/")]),
    _small,
    _archives,
    st.lists(_nodes, max_size=2, unique=True).map(sorted).map(tuple),
    st.sampled_from(["", "digest"]),
    st.none() | _names,
    st.booleans(),
    st.none() | _times,
    st.none() | _times,
    _small,
    st.none() | st.none() | pruned,
    st.booleans(),
)
states = st.builds(
    ModuleState,
    st.sampled_from(["e1", "e2", "e3"]),
    _names,
    st.sampled_from(["test_1.py", "test_2.py"]),
    st.sampled_from(Verdict),
    _small,
    _small,
    st.sampled_from(["", "a:1", "b:1"]),
    counts,
    _times,
    _texts,
    _texts,
    _small,
    _times,
    _times,
    _small,
)
records = st.builds(ModuleRecord, states, st.lists(test_results, max_size=2).map(tuple))
changes = st.builds(Changes, st.lists(evaluations, max_size=3).map(tuple), st.lists(records, max_size=4).map(tuple))
