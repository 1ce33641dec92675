from collections.abc import Mapping
from pathlib import Path

import pytest

from testmesh.errors import EnvironmentFailedError, InfrastructureError
from testmesh.testing.project_files import FolderFiles
from testmesh.testing.requirement_lines import LocalPath
from testmesh.testing.requirements import MAX_FILE, MAX_REQUIREMENTS, RequirementSet, read_requirements


class Files:
    """A project in memory; a name with a slash at its end is a folder."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}

    def read(self, path: str, limit: int) -> bytes | None:
        found = self._files.get(path)
        return None if found is None else found[: limit + 1]

    def exists(self, path: str) -> bool:
        return path == "." or path in self._files or f"{path}/" in self._files


def read(text: str | bytes, *, allow_vcs: bool = False) -> RequirementSet:
    return read_requirements(Files({"requirements.txt": text}), allow_vcs=allow_vcs)


def read_pyproject(text: str, files: Mapping[str, str] | None = None, *, allow_vcs: bool = False) -> RequirementSet:
    return read_requirements(Files({"pyproject.toml": text, **(files or {})}), allow_vcs=allow_vcs)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        ("Flask==2.0\n", ("flask==2.0",)),
        ("Flask_Login\r\nrequests >=2, <3 # why\r\n", ("flask-login", "requests<3,>=2")),
        ("# a comment\\\nflask\n", ("flask",)),
        ("requests \\\n  >= 2\n", ("requests>=2",)),
        ("flask # one \\\n", ("flask",)),
        ("requests[socks,security]==2.0", ("requests[security,socks]==2.0",)),
        ('old; python_version<"3"', ('old; python_version < "3"',)),
        ("b\na\nb\n", ("a", "b")),
        (f"flask==2 --hash=sha256:{'a' * 64}", (f"flask==2 --hash=sha256:{'a' * 64}",)),
        (f"flask==2 \\\n  --hash=sha256:{'b' * 64} \\\n  --hash sha256:{'a' * 64}\n",
         (f"flask==2 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}",)),
    ],
)  # fmt: skip
def test_lines_are_read_as_pip_reads_them(text: str, lines: tuple[str, ...]) -> None:
    assert read(text).lines == tuple(sorted((*lines, "pytest")))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8"])
def test_files_made_on_windows_are_read(encoding: str) -> None:
    assert "flask==2.0" in read("flask==2.0\r\nrequests\r\n".encode(encoding)).lines


def test_a_comment_in_an_old_code_page_does_no_harm() -> None:
    assert "flask" in read("# instalação\nflask\n".encode("cp1252")).lines


def test_pytest_is_always_there_and_a_pin_of_it_stays() -> None:
    assert read("pytest==6.2.5").lines == ("pytest", "pytest==6.2.5")
    assert read_requirements(Files({}), allow_vcs=False).lines == ("pytest",)
    assert read_requirements(Files({"setup.py": "raise SystemExit"}), allow_vcs=False).lines == ("pytest",)


def test_equal_requirements_give_equal_sets() -> None:
    assert read("Flask\nrequests>=2,<3") == read("requests <3, >=2\r\n\r\nflask # the framework")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (".", LocalPath(".")),
        ("-e .", LocalPath(".")),
        ("-e.", LocalPath(".")),
        ("--editable=.", LocalPath(".")),
        ("-e .[test,dev]", LocalPath(".", ("dev", "test"))),
        ("./sub", LocalPath("sub")),
        ("sub/", LocalPath("sub")),
        (".\\sub", LocalPath("sub")),
        ("sub/../sub", LocalPath("sub")),
        ("own @ ./sub", LocalPath("sub")),
        ('./sub ; python_version>"3"', LocalPath("sub", (), 'python_version > "3"')),
        ("wheels/own-1.0-py3-none-any.whl", LocalPath("wheels/own-1.0-py3-none-any.whl")),
    ],
)
def test_paths_inside_the_project_are_installed(line: str, path: LocalPath) -> None:
    files = {"requirements.txt": line, "sub/": "", "wheels/own-1.0-py3-none-any.whl": ""}
    assert read_requirements(Files(files), allow_vcs=False).paths == (path,)


def test_files_include_others_of_the_project_and_cycles_end() -> None:
    files = {
        "requirements.txt": "-r requirements/dev.txt\n-c limits.txt\nflask",
        "requirements/dev.txt": "--requirement base.txt\n-r ../requirements.txt",
        "requirements/base.txt": "requests",
        "limits.txt": "werkzeug<3",
    }
    found = read_requirements(Files(files), allow_vcs=False)
    assert found.lines == ("flask", "pytest", "requests")
    assert found.constraints == ("werkzeug<3",)


@pytest.mark.parametrize(
    "line",
    [
        "-r ../other.txt", "-r /etc/passwd", "-c ~/x.txt", "-r https://host/x.txt", "-rC:\\x.txt",
        "../sub", "/opt/thing", "~/thing", "-e ../sub", "-e /opt/thing", "a/../../b", "C:\\Users\\me\\thing",
        "file:///etc/passwd", "FILE:///x", "own @ file:///x", "certifi @ file:///croot/certifi/work", "-e file:.",
        "git+https://host/x.git", "-e git+https://host/x.git#egg=x", "x @ git+ssh://git@host/x", "git+git@host:x/y.git",
        "https://host/x-1.0.tar.gz", "x @ https://host/x-1.0-py3-none-any.whl",
        "--index-url https://host/simple", "-i https://host/simple", "--index-url=https://host", "-f https://host",
        "--extra-index-url https://host", "--find-links .", "--trusted-host host", "--no-index", "--pre",
        "--require-hashes", "--no-binary :all:", "flask --install-option=x", "flask --global-option x",
    ],
)  # fmt: skip
def test_what_the_policy_refuses_is_no_fault_of_the_tests(line: str) -> None:
    with pytest.raises(InfrastructureError, match=r"requirements.txt, line 2: .*refused by this service's policy: "):
        read(f"flask\n{line}")


@pytest.mark.parametrize(
    "line", ["git+https://host/x.git@main#egg=x", "x @ https://host/x-1.0.tar.gz", "-e git+https://host/x"]
)
def test_urls_are_taken_where_the_node_allows_them(line: str) -> None:
    assert line.removeprefix("-e ") in read(line, allow_vcs=True).lines


@pytest.mark.parametrize("line", ["x @ file:///etc", "git+file:///srv/x", "ftp://host/x.zip", "https://${HOME}/x.zip"])
def test_other_urls_stay_refused_there(line: str) -> None:
    with pytest.raises(InfrastructureError, match="policy"):
        read(line, allow_vcs=True)


@pytest.mark.parametrize(
    "line",
    ["requests=2.0", "flask 2.0", "requests: 2.0", "==2.0", "pip install flask", "flask==", "a;;b", "./none", ".[",
     "-r none.txt", "import flask", "numpy=1.26=py311_0", "nothing.whl"],
)  # fmt: skip
def test_a_line_that_is_no_requirement_is_quoted(line: str) -> None:
    with pytest.raises(EnvironmentFailedError) as caught:
        read(f"flask\n{line}")
    assert line.removeprefix("-r ") in caught.value.detail


def test_a_binary_file_is_the_projects_fault() -> None:
    with pytest.raises(EnvironmentFailedError, match="not a text file"):
        read(b"flask\0\0\1")


def test_size_and_number_are_bounded() -> None:
    with pytest.raises(InfrastructureError, match="KiB"):
        read("#" * (MAX_FILE + 1))
    with pytest.raises(InfrastructureError, match="more than"):
        read("\n".join(f"package{number}" for number in range(MAX_REQUIREMENTS + 1)))
    many = {f"{number}.txt": f"-r {number + 1}.txt" for number in range(50)}
    with pytest.raises(InfrastructureError, match="files"):
        read_requirements(Files({"requirements.txt": "-r 0.txt", **many}), allow_vcs=False)


def test_a_long_run_of_blanks_is_read_in_linear_time() -> None:
    assert read("flask" + " " * (MAX_FILE - 20) + "==2").lines == ("flask==2", "pytest")


PROJECT = (
    '[project]\nname = "own"\nversion = "1"\ndependencies = ["flask"]\n[build-system]\nrequires = ["setuptools"]\n'
)


@pytest.mark.parametrize("name", ["test", "tests", "testing"])
def test_a_project_is_installed_with_its_test_extra(name: str) -> None:
    found = read_pyproject(f'{PROJECT}[project.optional-dependencies]\n{name} = ["hypothesis"]\ndocs = ["sphinx"]')
    assert found.paths == (LocalPath(".", (name,)),)
    assert found.lines == ("pytest",)
    assert found.without_project == RequirementSet(("flask", "hypothesis", "pytest"))


def test_a_dependency_group_is_installed_with_those_it_includes() -> None:
    found = read_pyproject(
        f'{PROJECT}[dependency-groups]\nTest = [{{include-group = "cov"}}, "hypothesis", "own[more]"]\n'
        'cov = ["coverage", {include-group = "test"}]\ndocs = ["sphinx"]\n'
        '[project.optional-dependencies]\nmore = ["attrs"]\n'
    )
    assert found.lines == ("coverage", "hypothesis", "pytest")
    assert found.paths == (LocalPath(".", ("more",)),)


def test_extras_of_setuptools_and_poetry_count() -> None:
    build = '[build-system]\nrequires = ["setuptools"]\n'
    setup = {"setup.cfg": "[options.extras_require]\ntesting =\n    hypothesis\n"}
    assert read_pyproject(build, setup).paths == (LocalPath(".", ("testing",)),)
    assert read_pyproject('[tool.poetry.extras]\ntest = ["x"]').paths == (LocalPath(".", ("test",)),)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[tool.pytest.ini_options]\naddopts = "-ra"', ("pytest",)),
        ('[project]\nname = "own"\ndependencies = ["flask"]\n[tool.uv]\npackage = false', ("flask", "pytest")),
        ('[tool.poetry]\npackage-mode = false\n[dependency-groups]\ntest = ["attrs"]', ("attrs", "pytest")),
    ],
)
def test_a_file_that_describes_no_package_installs_none(text: str, lines: tuple[str, ...]) -> None:
    assert read_pyproject(text) == RequirementSet(lines)


def test_a_setup_script_beside_it_makes_it_a_package() -> None:
    assert read_pyproject("[tool.black]", {"setup.py": ""}).paths == (LocalPath("."),)


def test_requirements_txt_comes_first_and_requires_python_counts_all_the_same() -> None:
    found = read_pyproject(f'{PROJECT}[project.optional-dependencies]\ntest = ["x"]', {"requirements.txt": "attrs"})
    assert (found.lines, found.paths) == (("attrs", "pytest"), ())
    old = read_pyproject('[project]\nname = "own"\nrequires-python = ">=3.8"', {"requirements.txt": ""})
    assert old.requires_python == ">=3.8"
    assert read_pyproject("broken [", {"requirements.txt": "attrs"}).lines == ("attrs", "pytest")


@pytest.mark.parametrize(
    "text", ["broken [", '[project]\nrequires-python = "new"', '[project]\ndependencies = ["flask 2"]']
)
def test_a_pyproject_that_cannot_be_understood_is_the_projects_fault(text: str) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"pyproject\.toml"):
        read_pyproject(text)


@pytest.mark.parametrize(
    "text",
    [
        '[project]\ndependencies = ["x @ git+https://host/x"]',
        '[project]\ndependencies = ["x @ file:///etc"]',
        '[dependency-groups]\ntest = ["x @ https://host/x.zip"]',
        '[build-system]\nrequires = ["x @ git+https://host/x"]',
    ],
)
def test_the_policy_holds_in_a_pyproject_too(text: str) -> None:
    with pytest.raises(InfrastructureError, match=r"pyproject.toml: .*policy"):
        read_pyproject(text)


def test_a_line_break_in_a_declared_requirement_smuggles_no_option_in() -> None:
    with pytest.raises(InfrastructureError, match="policy"):
        read_pyproject('[dependency-groups]\ntest = ["flask\\n--index-url=https://host"]')
    with pytest.raises(InfrastructureError, match="policy"):
        read_pyproject('[dependency-groups]\ntest = ["https://host/x\\n--index-url=https://host"]', allow_vcs=True)


POLICY, OWN = InfrastructureError, EnvironmentFailedError


def short(value: str | type[Exception]) -> str:
    """The name of a test; some texts are megabytes long."""
    return ascii(value[:40]) if isinstance(value, str) else value.__name__


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # Options, however they are written.
        ("--index\\\n-url=https://host", POLICY),
        ("flask \\\n --index-url=https://host", POLICY),
        ("flask\u2028--index-url=https://host", POLICY),
        ("flask\x0c--index-url=https://host", POLICY),
        ("flask\x85-ihttps://host", POLICY),
        (f"flask==1 --hash={DIGEST} --index-url https://host", POLICY),
        ("flask --config-settings=--build-option=x", POLICY),
        ("flask --global-option=--help", POLICY),
        ("flask --hash=md5:d41d8cd98f00b204e9800998ecf8427e", POLICY),
        ("flask -r ../x.txt", POLICY),
        ("--req ../x.txt", POLICY),
        ("--use-feature=fast-deps", POLICY),
        ("--proxy http://host:1", POLICY),
        ("--", POLICY),
        # Variables of the node's environment.
        ("flask==${MESH_SECRET}", POLICY),
        ('flask; python_version > "${MESH_SECRET}"', POLICY),
        ("-r ${HOME}/x.txt", POLICY),
        ("-e ${HOME}", POLICY),
        (".[${MESH_SECRET}]", POLICY),
        ("x @ https://${MESH_SECRET}@host/x.zip", POLICY),
        # Places outside the project.
        ("x @ file:///etc/passwd", POLICY),
        ("x@file:/etc/passwd", POLICY),
        ("x @ ./../outside", POLICY),
        ("./../outside", POLICY),
        ("./sub/../../outside", POLICY),
        (".\\..\\outside", POLICY),
        ("/project/sub", POLICY),
        ("//host/share", POLICY),
        ("\\\\host\\share", POLICY),
        ("../outside-1.0.tar.gz", POLICY),
        ("-e ../outside[test]", POLICY),
        ("-c ../limits.txt", POLICY),
        ('-r "../x.txt"', POLICY),
        ("--constraint=/etc/passwd", POLICY),
        # Places outside the index.
        ("-e git+file:///srv/x", POLICY),
        ("x @ git+ssh://git@host/x.git", POLICY),
        ("x @ hg+http://host/x", POLICY),
        ("git+https://host/x.git@--upload-pack=touch", POLICY),
        ("https://[bad/x", POLICY),
        # More than there can be of.
        ("-r requirements.txt\n-r ../x.txt", POLICY),
        ("a\n" * 100_000, POLICY),
        ("#" * 10_000_000, POLICY),
        ("flask==" + "9" * 6000, POLICY),
        ("./sub; " + "(" * 100_000, POLICY),
        ("flask; " + "(" * 900 + "a", OWN),
        ("./sub; " + "(" * 900 + "a", OWN),
        ("./" + "a" * 300, OWN),
        # What pip does not understand either.
        ("ｆlask", OWN),
        ("fl\u0430sk", OWN),  # Cyrillic
        ("fla\u200bsk", OWN),
        ("\u202eflask", OWN),
        ("'flask'", OWN),
        ("flask\0", OWN),
        ("-e", OWN),
        ("-r", OWN),
        ("-e -e .", OWN),
        (".[a b]", OWN),
        ("-r %2e%2e/x.txt", OWN),
        ("./none/../missing", OWN),
    ],
    ids=short,
)  # fmt: skip
def test_a_hostile_file_is_refused_as_whose_fault_it_is(text: str, fault: type[Exception]) -> None:
    with pytest.raises(fault) as caught:
        read_requirements(Files({"requirements.txt": text, "sub/": ""}), allow_vcs=False)
    assert type(caught.value) is fault


def test_utf_16_without_a_mark_is_no_text() -> None:
    with pytest.raises(EnvironmentFailedError, match="UTF-8"):
        read("flask".encode("utf-16-le"))


@pytest.mark.parametrize("line", ["-e .#egg=own", "./#egg=own", "-e .[]"])
def test_old_ways_to_name_the_project_are_understood(line: str) -> None:
    assert read(line).paths == (LocalPath("."),)


def test_many_lines_that_say_nothing_do_no_harm() -> None:
    assert read("#\n\n" * 80_000).lines == ("pytest",)
    assert read("-r requirements.txt\n" * 10_000).lines == ("pytest",)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = " + "9" * 6000, OWN),
        ("a = " + "[" * 20_000, OWN),
        ("[" + ".".join("a" * 20_000) + "]", OWN),
        ("a = '" + "9" * 1_000_000 + "'", POLICY),
        ('[project]\nrequires-python = ">=' + "9" * 5000 + '"', OWN),
        ('[project]\nrequires-python = ">=3.8; x"', OWN),
        ('[project]\ndependencies = ["./a\\u0000b"]', OWN),
        ('[project]\ndependencies = ["flask; ' + "(" * 900 + '"]', OWN),
        ('[project]\ndependencies = ["flask==${MESH_SECRET}"]', POLICY),
        ('[project]\ndependencies = ["../outside"]', POLICY),
        ('[project]\ndependencies = ["x @ git+ssh://git@host/x"]', POLICY),
        ('[project]\ndependencies = ["-r ../x.txt"]', OWN),
        ('[build-system]\nrequires = ["x @ file:///etc"]', POLICY),
        ('[tool.poetry.dependencies]\nx = {git = "https://host/x.git"}', POLICY),
        ('[tool.poetry.dependencies]\nx = {git = "git@host:x.git"}', POLICY),
        ('[tool.poetry.dependencies]\nx = {path = "../outside"}', POLICY),
        ('[tool.poetry.dependencies]\nx = [{url = "https://host/x.zip"}, "*"]', POLICY),
    ],
    ids=short,
)
def test_a_hostile_project_file_is_refused_as_whose_fault_it_is(text: str, fault: type[Exception]) -> None:
    with pytest.raises(fault) as caught:
        read_pyproject(text)
    assert type(caught.value) is fault


def test_tables_that_are_none_are_passed_over() -> None:
    odd = '[project]\nname = [1]\ndependencies = {a = 1}\noptional-dependencies = {test = [1, "attrs"]}'
    assert read_pyproject(f"{odd}\n[tool]\nuv = 1\npoetry = []").without_project == RequirementSet(("attrs", "pytest"))
    groups = '[dependency-groups]\ntest = [{include-group = "test"}, {include-group = 1}, 1, {}]'
    assert read_pyproject(groups) == RequirementSet(("pytest",))


def test_a_link_out_of_the_project_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("stolen\n")
    project = tmp_path / "project"
    project.mkdir()
    (project / "linked.txt").symlink_to(tmp_path / "secret.txt")
    (project / "sub").symlink_to(tmp_path)
    for line in ("-r linked.txt", "-c linked.txt", "./sub", "-r sub/secret.txt"):
        (project / "requirements.txt").write_text(line)
        with pytest.raises(EnvironmentFailedError):
            read_requirements(FolderFiles(project), allow_vcs=False)
    (project / "requirements.txt").unlink()
    (project / "requirements.txt").symlink_to(tmp_path / "secret.txt")
    assert read_requirements(FolderFiles(project), allow_vcs=False) == RequirementSet(("pytest",))
