"""The command as a person calls it, against a server that plays the mesh."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testmesh import cli
from tests.unit.client.fake_mesh import ID, Answer, FakeMesh, evaluation, fake_mesh, module, problem

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mesh() -> Iterator[FakeMesh]:
    with fake_mesh() as mesh:
        mesh.on("/evaluation", Answer(202, {"id": ID}))
        mesh.on("/peers", Answer(200, []))
        yield mesh


@pytest.fixture
def run(mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `testmesh ...`: exit code, standard output, standard error."""
    monkeypatch.setenv("TESTMESH_URL", mesh.url)
    monkeypatch.delenv("TESTMESH_TOKEN", raising=False)
    monkeypatch.setattr("testmesh.client.watch.POLL_S", 0.0)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["testmesh", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def project(tmp_path: Path) -> str:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "test_a.py").write_text("def test(): pass\n")
    return str(folder)


def test_submit_prints_the_id_and_nothing_else(run: Run, mesh: FakeMesh, project: str) -> None:
    assert run("submit", project) == (0, f"{ID}\n", "")
    assert b'name="file"; filename="project.zip"' in mesh.requests[0].body


def test_submit_sends_options(run: Run, mesh: FakeMesh, project: str) -> None:
    run("submit", project, "--module-timeout", "7", "--options", '{"services": []}')
    assert b'{"services": [], "module_timeout_s": 7.0}' in mesh.requests[0].body


def test_submit_sends_the_staff_s_tests(run: Run, mesh: FakeMesh, project: str, tmp_path: Path) -> None:
    (tmp_path / "staff.zip").write_bytes(b"the staff's")
    run("submit", project, "--tests", str(tmp_path / "staff.zip"))
    assert (
        b'name="tests"; filename="staff.zip"\r\nContent-Type: application/zip\r\n\r\nthe staff\'s'
        in mesh.requests[0].body
    )


@pytest.mark.parametrize(
    ("result", "code"), [(module(passed=1), 0), (module("failed", failed=1), 1), (module("infra_failed"), 2)]
)
def test_watching_ends_with_the_grades_and_says_how_it_went(
    run: Run, mesh: FakeMesh, project: str, result: dict[str, object], code: int
) -> None:
    status = "infra_failed" if code == 2 else "done"
    mesh.on(
        f"/evaluation/{ID}",
        Answer(200, evaluation("queued", {})),
        Answer(200, evaluation("running", {"project": {"test_a.py": module("running")}})),
        None,
        Answer(200, evaluation("done", {"project": {"test_a.py": result}}, status=status)),
    )
    exit_code, output, _ = run("submit", project, "--watch")
    assert exit_code == code
    assert f"[1/1] project test_a.py {result['verdict']} (" in output
    assert output.count("test_a.py " + str(result["verdict"])) == 1
    assert "Grades" in output


def test_urls_are_submitted_as_repositories(run: Run, mesh: FakeMesh) -> None:
    assert run("submit", "https://github.com/o/a", "https://github.com/o/b")[0] == 0
    assert json.loads(mesh.requests[0].body) == {"projects": ["https://github.com/o/a", "https://github.com/o/b"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "https://github.com/o/a", "folder"], "either URLs or zips"),
        (["submit", "/not/there.zip"], "/not/there.zip is not there"),
        (["submit", "https://github.com/o/a", "--tests", "x.zip"], "--tests goes with zips"),
        (["submit", "https://github.com/o/a", "--options", "{"], "--options is not JSON"),
        (["submit", "https://github.com/o/a", "--options", "[]"], "must be a JSON object"),
        (["status", "unknown"], "No such path: ask for another."),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(run: Run, arguments: list[str], said: str) -> None:
    code, output, error = run(*arguments)
    assert (code, output) == (2, "")
    assert error.startswith("testmesh: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_refused_submission_shows_the_mesh_s_sentence(run: Run, mesh: FakeMesh, project: str) -> None:
    mesh.on("/evaluation", problem(422, "Nothing to test", "Add a file named test_*.py."))
    code, _, error = run("submit", project)
    assert (code, error) == (2, "testmesh: Nothing to test: Add a file named test_*.py. (422)\n")


def test_results_in_every_format(run: Run, mesh: FakeMesh) -> None:
    document = evaluation("done", {"p": {"t.py": module("failed", passed=1, failed=1)}})
    mesh.on(f"/evaluation/{ID}", Answer(200, document))
    assert json.loads(run("results", ID, "--format", "json")[1]) == document
    assert run("results", ID, "--format", "csv")[1].splitlines()[1].startswith("p,10.0,50.0,1,1,0,1,done,")
    code, table, _ = run("results", ID)
    assert code == 0
    assert "failed · t.py: 1 passed, 1 failed" in table
    assert run("results", ID, "--format", "junit")[0] == 2


def test_status_lists_evaluations_or_shows_one(run: Run, mesh: FakeMesh) -> None:
    line = {"id": ID, "status": "running", "submitted_at": "2026", "projects": 1, "%passed": None, "nota": None}
    mesh.on("/evaluation", Answer(200, {"evaluations": [line]}))
    mesh.on(f"/evaluation/{ID}", Answer(200, evaluation("running", {"p": {"t.py": module("running")}})))
    assert ID in run("status")[1]
    assert "t.py" in run("status", ID)[1]


def test_logs_are_asked_for_by_project_and_module(run: Run, mesh: FakeMesh) -> None:
    test = {"project": "p", "module": "t.py", "name": "test_x", "outcome": "failed", "time": 0.1}
    output = {"longrepr": "assert 1 == 2", "stdout": "", "stderr": ""}
    mesh.on(f"/evaluation/{ID}/tests", Answer(200, {"tests": [test | output]}))
    assert "assert 1 == 2" in run("logs", ID, "--project", "p", "--module", "t.py")[1]
    assert mesh.requests[0].target == f"/evaluation/{ID}/tests?project=p&module=t.py"


def test_cancel_and_rerun(run: Run, mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(202, {}))
    mesh.on(f"/evaluation/{ID}/rerun", Answer(202, {"id": "new"}))
    assert run("cancel", ID) == (0, f"cancelled {ID}\n", "")
    assert run("rerun", ID, "--project", "a b") == (0, "new\n", "")
    assert [request.method for request in mesh.requests] == ["DELETE", "POST"]
    assert mesh.requests[1].target.endswith("?project=a+b")


def test_nodes_are_listed_with_their_peers(run: Run, mesh: FakeMesh) -> None:
    node = {"address": "10.0.0.1:5001", "passed": 5, "failed": 1, "projects": 2, "modules": 3, "evaluations": [ID]}
    mesh.on("/stats", Answer(200, {"all": {}, "nodes": [node]}))
    mesh.on("/network", Answer(200, {"10.0.0.1:5001": ["10.0.0.2:5002"]}))
    output = run("nodes")[1]
    assert "10.0.0.1:5001" in output
    assert "10.0.0.2:5002" in output


def test_open_prints_the_address(run: Run, mesh: FakeMesh) -> None:
    assert run("open") == (0, f"{mesh.url}/\n", "")
    assert run("open", ID) == (0, f"{mesh.url}/evaluation/{ID}\n", "")


def test_the_token_comes_from_the_environment(run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTMESH_TOKEN", "the-token")
    mesh.on("/evaluation", Answer(200, {"evaluations": []}))
    run("status")
    assert mesh.requests[0].headers["Authorization"] == "Bearer the-token"


def test_without_a_mesh_the_message_says_how_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTMESH_URL")
    monkeypatch.setattr(cli, "find_mesh", lambda _candidates: None)
    code, _, error = run("status")
    assert code == 2
    assert "./boot.sh" in error
