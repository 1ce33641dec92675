"""The `testmesh` command: verbs only. What they do is in `testmesh.client`."""

import json
import os
import sys
import tempfile
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from testmesh.client.api import ClientError, MeshClient, find_mesh
from testmesh.client.export import as_csv, as_json
from testmesh.client.render import evaluations_table, grade_table, nodes_table, show_tests, status_view
from testmesh.client.submit import Submission, submit_inputs
from testmesh.client.summary import exit_code
from testmesh.client.watch import watch
from testmesh.errors import TestmeshError

_CANDIDATES = ("http://127.0.0.1:80", "http://127.0.0.1:8080", "http://127.0.0.1:5001")

app = typer.Typer(
    help="Grade Python projects on a mesh of nodes. Exit code 0: all passed, 1: some failed, 2: could not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Url = Annotated[
    str | None, typer.Option("--url", envvar="TESTMESH_URL", help="The mesh; else this machine's on 80, 8080, 5001.")
]
EvaluationId = Annotated[str, typer.Argument(metavar="ID", help="An evaluation's id, as `submit` prints it.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show progress until the end, then the grades.")]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Only this project.")]


class ResultFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def submit(
    inputs: Annotated[list[str], typer.Argument(metavar="X.zip|FOLDER|URL…", help="Zips and folders, or GitHub URLs.")],
    watch_it: Watch = False,
    tests: Annotated[
        Path | None, typer.Option("--tests", help="Zip or folder of tests laid over each project.")
    ] = None,
    module_timeout: Annotated[float | None, typer.Option(help="Seconds that one test file may take.")] = None,
    install_timeout: Annotated[
        float | None, typer.Option(help="Seconds that installing requirements may take.")
    ] = None,
    options: Annotated[str | None, typer.Option(help="More options, as JSON.")] = None,
    auth_token: Annotated[
        str | None, typer.Option(envvar="TESTMESH_GITHUB_TOKEN", help="For private GitHub repositories.")
    ] = None,
    url: Url = None,
) -> None:
    """Submit projects as one evaluation and print its id."""
    client = _client(url)
    chosen = _options(options, module_timeout_s=module_timeout, install_timeout_s=install_timeout)
    submission = Submission(tuple(inputs), tests, chosen, auth_token)
    with tempfile.TemporaryDirectory(prefix="testmesh-") as folder:
        evaluation_id = submit_inputs(client, submission, Path(folder), _console(stderr=True))
    _accepted(client, evaluation_id, watch_it)


@app.command()
def status(
    evaluation_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    watch_it: Watch = False,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 20,
    url: Url = None,
) -> None:
    """Show one evaluation with its modules, or list the newest ones."""
    client = _client(url)
    if evaluation_id is None:
        _console().print(evaluations_table(client.evaluations(limit)))
    elif watch_it:
        _watch(client, evaluation_id)
    else:
        _console().print(status_view(client.evaluation(evaluation_id)))


@app.command()
def results(
    evaluation_id: EvaluationId,
    result_format: Annotated[ResultFormat, typer.Option("--format", "-f")] = ResultFormat.TABLE,
    url: Url = None,
) -> None:
    """Print the grades."""
    document = _client(url).evaluation(evaluation_id)
    match result_format:
        case ResultFormat.TABLE:
            _console().print(grade_table(document))
        case ResultFormat.JSON:
            typer.echo(as_json(document), nl=False)
        case ResultFormat.CSV:
            typer.echo(as_csv(document), nl=False)


@app.command()
def logs(
    evaluation_id: EvaluationId,
    project: ProjectOption = None,
    module: Annotated[str | None, typer.Option("--module", help="Only this test file.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The output of passed tests too.")] = False,
    url: Url = None,
) -> None:
    """Show every test, and what those that failed printed."""
    show_tests(_console(), _client(url).tests(evaluation_id, project, module), everything=everything)


@app.command()
def cancel(evaluation_id: EvaluationId, url: Url = None) -> None:
    """Cancel what has not ended; results so far stay."""
    _client(url).cancel(evaluation_id)
    typer.echo(f"cancelled {evaluation_id}")


@app.command()
def rerun(evaluation_id: EvaluationId, project: ProjectOption = None, watch_it: Watch = False, url: Url = None) -> None:
    """Grade the same sources again, as a new evaluation."""
    client = _client(url)
    _accepted(client, client.rerun(evaluation_id, project), watch_it)


@app.command()
def nodes(url: Url = None) -> None:
    """List the live nodes, what each ran and its peers."""
    client = _client(url)
    _console().print(nodes_table(client.stats(), client.network()))


@app.command("open")
def open_(
    evaluation_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    browser: Annotated[bool, typer.Option(help="Start a browser, where this is a terminal.")] = True,
    url: Url = None,
) -> None:
    """Print the mesh's address, or an evaluation's, and open it in a browser."""
    base = _client(url).url
    address = f"{base}/evaluation/{evaluation_id}" if evaluation_id else f"{base}/"
    typer.echo(address)
    if browser and sys.stdout.isatty():
        webbrowser.open(address)


def main() -> None:
    """Run the command; every expected error is one line on standard error and exit code 2."""
    try:
        app()
    except TestmeshError as error:
        typer.echo(f"testmesh: {error.detail}", err=True)
        sys.exit(2)


def _client(url: str | None) -> MeshClient:
    base = url or find_mesh(_CANDIDATES)
    if base is None:
        raise ClientError("no mesh answers on this machine; start one with ./boot.sh, or give --url or TESTMESH_URL")
    return MeshClient([base if "://" in base else f"http://{base}"], os.environ.get("TESTMESH_TOKEN"))


def _console(*, stderr: bool = False) -> Console:
    # Not on a terminal rich falls back to 80 columns, too few for the grade table; a pipe has no width.
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=160)


def _options(text: str | None, **given: float | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise ClientError(f"--options is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise ClientError("--options must be a JSON object, such as '{\"services\": []}'")
    return options | {name: value for name, value in given.items() if value is not None}


def _accepted(client: MeshClient, evaluation_id: str, watch_it: bool) -> None:
    typer.echo(evaluation_id)
    if watch_it:
        _watch(client, evaluation_id)


def _watch(client: MeshClient, evaluation_id: str) -> None:
    console = _console()
    document = watch(client, evaluation_id, console)
    console.print(grade_table(document))
    raise typer.Exit(exit_code(document))


if __name__ == "__main__":
    main()
