"""The command as a person calls it, against a server that plays the mesh."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testmesh import __version__, cli
from tests.unit.client.fake_mesh import ID, NODE, Answer, FakeMesh, evaluation, fake_mesh, module, problem, stream

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
    assert output.isascii() or not any(ord(character) < 32 for character in output.replace("\n", ""))


def test_watching_is_fed_by_events(run: Run, mesh: FakeMesh) -> None:
    before = evaluation("running", {"p": {"a.py": module("running"), "b.py": module("pending")}})
    after = evaluation("done", {"p": {"a.py": module(passed=1), "b.py": module("cancelled")}})
    mesh.on(f"/evaluation/{ID}", Answer(200, before), Answer(200, after))
    part = {"module_results": {"p": {"a.py": module(passed=1)}}}
    mesh.on(f"/evaluation/{ID}/events", stream(("n.1", "module", part), ("n.2", "done", {"status": "done"})))
    output = run("status", ID, "--watch")[1]
    assert output.startswith("[1/2] p a.py passed")


def test_ctrl_c_ends_watching_and_says_how_to_go_on(
    run: Run, mesh: FakeMesh, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "watch", interrupted)
    code, output, error = run("submit", project, "--watch", "--url", f"{mesh.url}/")
    assert (code, output) == (130, f"{ID}\n")
    assert f"`testmesh status {ID} --watch --url {mesh.url}/` shows it again" in error
    assert f"`testmesh cancel {ID} --url {mesh.url}/` ends it" in error


def test_ctrl_c_anywhere_else_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "client_of", interrupted)
    assert run("status") == (130, "", "")


@pytest.mark.parametrize("arguments", [["status", ID], ["results", ID, "--format", "json"], ["--help"]])
def test_a_reader_that_goes_is_141_and_no_word(mesh: FakeMesh, arguments: list[str]) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(200, evaluation("done", {"p": {"t.py": module(passed=1)}})))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "testmesh.cli", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=os.environ | {"TESTMESH_URL": mesh.url, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


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
        (["status", "--watch"], "needs the id of an evaluation"),
        (["status", "--url", "ftp://mesh"], "ftp://mesh is no address of a mesh"),
        (["status", "--url", "http://["], "http://[ is no address of a mesh"),
        (["status", "--url", ","], "take an address such as"),
        (["status", "--limit", "0"], "See `testmesh --help`"),
        (["submit"], "See `testmesh --help`"),
        (["results", "x", "--format", "xls"], "See `testmesh --help`"),
        (["wish"], "No such command 'wish'"),
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


def test_results_as_a_table_and_as_json(run: Run, mesh: FakeMesh, tmp_path: Path) -> None:
    document = evaluation("done", {"p\x1b": {"t.py": module("failed", passed=1, failed=1)}})
    mesh.on(f"/evaluation/{ID}", Answer(200, document))
    shown = run("results", ID, "--format", "json")[1]
    assert json.loads(shown) == document
    assert shown.isascii()
    code, table, _ = run("results", ID)
    assert code == 0
    assert "failed · t.py: 1 passed, 1 failed" in table
    assert run("results", ID, "--output", str(tmp_path / "table.txt")) == (0, "", "")
    assert (tmp_path / "table.txt").read_text() == table


@pytest.mark.parametrize(("chosen", "path"), [("csv", "results.csv"), ("junit", "junit.xml"), ("html", "report.html")])
def test_exports_are_the_mesh_s(run: Run, mesh: FakeMesh, tmp_path: Path, chosen: str, path: str) -> None:
    content = f"\ufeffwhat the mesh says of Übung in {path}\r\n"
    mesh.on(f"/evaluation/{ID}/{path}", Answer(200, content.encode()))
    assert run("results", ID, "--format", chosen)[1] == content
    assert run("results", ID, "-f", chosen, "-o", str(tmp_path / "file")) == (0, "", "")
    assert (tmp_path / "file").read_bytes() == content.encode()


def test_an_export_on_a_terminal_cannot_steer_it(run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh.on(f"/evaluation/{ID}/results.csv", Answer(200, "\ufeffa\x1b[2J\u202eb\r\nc\n".encode()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("results", ID, "--format", "csv")[1] == "a�[2J�b\nc\n"


def test_a_file_that_cannot_be_written_is_said(run: Run, mesh: FakeMesh, tmp_path: Path) -> None:
    mesh.on(f"/evaluation/{ID}/junit.xml", Answer(200, b"<testsuites/>"))
    code, _, error = run("results", ID, "--format", "junit", "--output", str(tmp_path / "no" / "file"))
    assert code == 2
    assert "cannot be written: No such file or directory" in error


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
    mesh.on(f"/evaluation/{ID}", Answer(200, evaluation("done", {"p": {"t.py": module("failed", failed=1)}})))
    assert "assert 1 == 2" in run("logs", ID, "--project", "p", "--module", "t.py")[1]
    assert mesh.requests[0].target == f"/evaluation/{ID}/tests?project=p&module=t.py"


def test_cancel_and_rerun(run: Run, mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", Answer(202, {}))
    mesh.on(f"/evaluation/{ID}/rerun", Answer(202, {"id": "new"}))
    assert run("cancel", ID) == (0, f"cancelled {ID}\n", "")
    assert run("rerun", ID, "--project", "a b") == (0, "new\n", "")
    assert [request.method for request in mesh.requests] == ["DELETE", "POST"]
    assert mesh.requests[1].target.endswith("?project=a+b")


def test_nodes_are_listed_with_their_load(run: Run, mesh: FakeMesh) -> None:
    mesh.on("/nodes", Answer(200, {"nodes": [NODE]}))
    output = run("nodes")[1]
    assert all(
        word in output for word in ("10.0.0.1:5001", "3 of 8", "42 %", "portable, shared loopback", "2 min 05 s")
    )


def test_open_prints_the_address(run: Run, mesh: FakeMesh) -> None:
    assert run("open") == (0, f"{mesh.url}/\n", "")
    assert run("open", ID) == (0, f"{mesh.url}/dashboard/evaluation/{ID}\n", "")


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["status", "0b4"], [ID]),
        (["status", "f"], []),
        (["logs", ID, "--project", ""], ["alice", "bob"]),
        (["logs", ID, "--project", "b"], ["bob"]),
        (["logs", ID, "--project", "bob", "--module", ""], ["t.py"]),
        (["rerun", "unknown", "--project", ""], []),
    ],
)
def test_a_shell_completes_from_the_mesh(
    run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch, arguments: list[str], offered: list[str]
) -> None:
    line = {"id": ID, "status": "done", "submitted_at": "2026", "projects": 2, "%passed": None, "nota": None}
    hostile: dict[str, dict[str, object]] = {"\x1b[2J": {}, "alice\n": {}}
    mesh.on("/evaluation", Answer(200, {"evaluations": [line]}))
    mesh.on(f"/evaluation/{ID}", Answer(200, evaluation("done", {"alice": {}, "bob": {"t.py": module()}, **hostile})))
    monkeypatch.setenv("_TESTMESH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["testmesh", *arguments]))
    monkeypatch.setenv("COMP_CWORD", str(len(arguments)))
    code, output, error = run()
    assert (code, error) == (0, "")
    assert output.split() == offered


def test_completion_without_a_mesh_offers_nothing(run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_mesh() as gone:
        pass
    monkeypatch.setenv("TESTMESH_URL", gone.url)
    monkeypatch.setenv("_TESTMESH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "testmesh status ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run() == (0, "\n", "")


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (0, f"testmesh {__version__}\n", "")


def test_without_arguments_there_is_help(run: Run) -> None:
    code, output, _ = run()
    assert code == 0
    assert "submit" in output


def test_several_urls_are_tried_in_turn(run: Run, mesh: FakeMesh) -> None:
    mesh.on("/nodes", Answer(200, {"nodes": [NODE]}))
    with fake_mesh() as gone:
        pass
    assert "10.0.0.1:5001" in run("nodes", "--url", f"{gone.url}, {mesh.url.removeprefix('http://')}")[1]


def test_a_hostile_problem_is_one_clean_line(run: Run, mesh: FakeMesh) -> None:
    mesh.on(f"/evaluation/{ID}", problem(400, "Bad\x1b[2J", "line 1\nline 2 \u202e"))
    assert run("status", ID)[2] == "testmesh: Bad�[2J: line 1 line 2 � (400)\n"


def test_the_token_comes_from_the_environment(run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTMESH_TOKEN", "the-token")
    mesh.on("/evaluation", Answer(200, {"evaluations": []}))
    run("status")
    assert mesh.requests[0].headers["Authorization"] == "Bearer the-token"


def test_without_a_mesh_the_message_says_how_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTMESH_URL")
    monkeypatch.setattr("testmesh.client.entrance.find_mesh", lambda _candidates: None)
    code, _, error = run("status")
    assert code == 2
    assert "./boot.sh" in error
