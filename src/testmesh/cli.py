"""The `testmesh` command: verbs only. What they do is in `testmesh.client`."""

import json
import os
import sys
import tempfile
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from testmesh import __version__
from testmesh.client import completion
from testmesh.client.api import ClientError, MeshClient
from testmesh.client.entrance import client_of, quick_client
from testmesh.client.logs import Wanted, show_tests
from testmesh.client.output import OutputClosedError, as_text, console_of, discard_output, guarded, write_out
from testmesh.client.render import evaluations_table, grade_table, nodes_table, status_view
from testmesh.client.submit import Submission, submit_inputs
from testmesh.client.summary import exit_code
from testmesh.client.text import clean, shortened
from testmesh.client.watch import watch
from testmesh.errors import TestmeshError

_INTERRUPTED = 130
_PIPE_CLOSED = 141  # as of a program that SIGPIPE ends
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # click's, or typer's own copy of it

_HELP = "Grade Python projects on a mesh of nodes. Exit code 0: all passed, 1: some failed, 2: could not."

app = typer.Typer(help=_HELP, pretty_exceptions_enable=False)


def _complete_id(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    client = quick_client(context.params.get("url"))
    return completion.evaluation_ids(client, incomplete) if client else []


def _known_id(context: typer.Context) -> str | None:
    # Before an option that still lacks its value the parser leaves arguments where they are.
    return context.params.get("evaluation_id") or next(iter(context.args), None)


def _complete_project(context: typer.Context, incomplete: str) -> list[str]:
    client, known = quick_client(context.params.get("url")), _known_id(context)
    return completion.project_names(client, known, incomplete) if client and known else []


def _complete_module(context: typer.Context, incomplete: str) -> list[str]:
    client, known = quick_client(context.params.get("url")), _known_id(context)
    project = context.params.get("project")
    return completion.module_names(client, known, project, incomplete) if client and known else []


Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="TESTMESH_URL", help="The mesh, or several separated by commas; else this machine's own."
    ),
]
EvaluationId = Annotated[
    str, typer.Argument(metavar="ID", help="An evaluation's id, as `submit` prints it.", autocompletion=_complete_id)
]
MaybeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="An evaluation's id.", autocompletion=_complete_id)]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show progress until the end, then the grades.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="Only this project.", autocompletion=_complete_project)
]
ModuleOption = Annotated[
    str | None, typer.Option("--module", help="Only this test file.", autocompletion=_complete_module)
]


class ResultFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"
    HTML = "html"


_EXPORTS = {ResultFormat.CSV: "results.csv", ResultFormat.JUNIT: "junit.xml", ResultFormat.HTML: "report.html"}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"testmesh {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
]


@app.callback(help=_HELP)
def common(version: Version = False) -> None:
    """Options without a command."""


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
    client = client_of(url)
    chosen = _options(options, module_timeout_s=module_timeout, install_timeout_s=install_timeout)
    submission = Submission(tuple(inputs), tests, chosen, auth_token)
    with tempfile.TemporaryDirectory(prefix="testmesh-") as folder:
        evaluation_id = submit_inputs(client, submission, Path(folder), console_of(sys.stderr))
    _accepted(client, evaluation_id, watch_it, url)


@app.command()
def status(
    evaluation_id: MaybeId = None,
    watch_it: Watch = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 20,
    url: Url = None,
) -> None:
    """Show one evaluation with its modules, or list the newest ones."""
    client = client_of(url)
    if watch_it and evaluation_id is None:
        raise ClientError("--watch needs the id of an evaluation; `testmesh status` lists them")
    if evaluation_id is None:
        console_of(sys.stdout).print(evaluations_table(client.evaluations(limit)))
    elif watch_it:
        _watch(client, evaluation_id, url)
    else:
        console_of(sys.stdout).print(status_view(client.evaluation(evaluation_id)))


@app.command()
def results(
    evaluation_id: EvaluationId,
    result_format: Annotated[ResultFormat, typer.Option("--format", "-f", help="What to write.")] = ResultFormat.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write to.")] = None,
    url: Url = None,
) -> None:
    """Print or save the grades."""
    client = client_of(url)
    if name := _EXPORTS.get(result_format):
        write_out(client.export(evaluation_id, name), output)
        return
    document = client.evaluation(evaluation_id)
    if result_format is ResultFormat.JSON:
        write_out(json.dumps(document, indent=2).encode() + b"\n", output)
    elif output is not None:
        write_out(as_text(grade_table(document)), output)
    else:
        console_of(sys.stdout).print(grade_table(document))


@app.command()
def logs(
    evaluation_id: EvaluationId,
    project: ProjectOption = None,
    module: ModuleOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="The output of passed tests too.")] = False,
    url: Url = None,
) -> None:
    """Show every test, those that failed first and with what they printed."""
    client = client_of(url)
    wanted = Wanted(project, module, all_output=everything, only_failed=failed)
    tests = client.tests(evaluation_id, project, module)
    show_tests(console_of(sys.stdout), client.evaluation(evaluation_id), tests, wanted)


@app.command()
def cancel(evaluation_id: EvaluationId, url: Url = None) -> None:
    """Cancel what has not ended; results so far stay."""
    client_of(url).cancel(evaluation_id)
    typer.echo(f"cancelled {clean(evaluation_id)}")


@app.command()
def rerun(evaluation_id: EvaluationId, project: ProjectOption = None, watch_it: Watch = False, url: Url = None) -> None:
    """Grade the same sources again, as a new evaluation."""
    client = client_of(url)
    _accepted(client, client.rerun(evaluation_id, project), watch_it, url)


@app.command()
def nodes(url: Url = None) -> None:
    """List the nodes with their load and how well they isolate."""
    console_of(sys.stdout).print(nodes_table(client_of(url).nodes()))


@app.command("open")
def open_(
    evaluation_id: MaybeId = None,
    browser: Annotated[bool, typer.Option(help="Start a browser, where this is a terminal.")] = True,
    url: Url = None,
) -> None:
    """Print the address of the dashboard, or of an evaluation in it, and open it in a browser."""
    base = client_of(url).url
    address = f"{base}/dashboard/evaluation/{quote(evaluation_id, safe='')}" if evaluation_id else f"{base}/"
    typer.echo(clean(address))
    if browser and sys.stdout.isatty():
        webbrowser.open(address)


def main() -> None:
    """Run the command; every expected error is one line on standard error and exit code 2."""
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)
    try:
        code = _run()
        sys.stdout.flush()
    except OutputClosedError:
        discard_output()
        code = _PIPE_CLOSED
    sys.exit(code)


def _run() -> int:
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="testmesh", standalone_mode=False)
    except TestmeshError as error:
        code = _fail(error.detail)
    except _USAGE_ERROR as error:
        code = _fail(f"{getattr(error, 'format_message', error.__str__)()} See `testmesh --help`.")
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    return int(code or 0)


def _fail(sentence: str) -> int:
    typer.echo(f"testmesh: {shortened(sentence, 2000)}", err=True)
    return 2


def _options(text: str | None, **given: float | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise ClientError(f"--options is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise ClientError("--options must be a JSON object, such as '{\"services\": []}'")
    return options | {name: value for name, value in given.items() if value is not None}


def _accepted(client: MeshClient, evaluation_id: str, watch_it: bool, url: str | None) -> None:
    typer.echo(clean(evaluation_id))
    if watch_it:
        _watch(client, evaluation_id, url)


def _watch(client: MeshClient, evaluation_id: str, url: str | None) -> None:
    console = console_of(sys.stdout)
    try:
        document = watch(client, evaluation_id, console)
    except KeyboardInterrupt:
        where = f" --url {url}" if url and url != os.environ.get("TESTMESH_URL") else ""
        known = clean(evaluation_id)
        typer.echo(
            f"testmesh: the evaluation goes on; `testmesh status {known} --watch{where}` shows it again, "
            f"`testmesh cancel {known}{where}` ends it",
            err=True,
        )
        raise typer.Exit(_INTERRUPTED) from None
    console.print(grade_table(document))
    raise typer.Exit(exit_code(document))


if __name__ == "__main__":
    main()
