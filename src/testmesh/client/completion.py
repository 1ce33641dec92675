"""What a shell may complete from the mesh: quickly or not at all, and never with an error."""

from testmesh.client.api import MeshClient
from testmesh.client.text import clean
from testmesh.errors import TestmeshError

_MOST = 50


def evaluation_ids(client: MeshClient, begun: str) -> list[tuple[str, str]]:
    """The newest ids that begin so, each with a word about it."""
    try:
        found = [(str(one["id"]), f"{one['status']}, {one['projects']} projects") for one in client.evaluations(_MOST)]
    except (TestmeshError, KeyError, TypeError):
        return []
    return [(name, clean(about)) for name, about in found if _fits(name, begun)]


def project_names(client: MeshClient, evaluation_id: str, begun: str) -> list[str]:
    """Those of the evaluation that begin so."""
    try:
        return [name for name in client.evaluation(evaluation_id)["projects"] if _fits(name, begun)]
    except TestmeshError:
        return []


def module_names(client: MeshClient, evaluation_id: str, project: str | None, begun: str) -> list[str]:
    """Those of the project, or of all, that begin so."""
    try:
        results = client.evaluation(evaluation_id)["module_results"]
    except TestmeshError:
        return []
    found = {path for name, modules in results.items() if project in (None, name) for path in modules}
    return sorted(path for path in found if _fits(path, begun))


def _fits(name: str, begun: str) -> bool:
    """A name that cannot be shown as it is goes to no shell."""
    return name.startswith(begun) and name == clean(name)
