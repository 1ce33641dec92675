"""The documents name all there is, and nothing that is not."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import typer
from flask_openapi.openapi import OpenAPI

from testmesh import cli
from testmesh.app.auth import INTERNAL, internal_blueprint
from testmesh.app.factory import create_app
from testmesh.app.peer_routes import register_peer_routes
from testmesh.app.schemas import OptionsIn
from testmesh.model import EvaluationStatus, ProjectStatus, Verdict
from testmesh.settings import Settings, settings_from

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SETTINGS = {f"MESH_{field.name.upper()}": field.name for field in fields(Settings)}
_VARIABLE = re.compile(r"\bMESH_[A-Z][A-Z_]*[A-Z]\b")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every line of every table."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def settings_table() -> dict[str, str]:
    """Variable to default, as the README has them."""
    return {cells[0].strip("`"): cells[1] for cells in rows(read("README.md")) if cells[0].startswith("`MESH_")}


def application() -> OpenAPI:
    blueprint = internal_blueprint(None)
    register_peer_routes(blueprint, cast(Any, None), lambda: None)
    return create_app(cast(Any, None), settings_from({}), internal=blueprint)


def routes() -> Iterator[tuple[bool, str, str]]:
    """Whether it is between nodes, method, path with `<>` for what varies. What Swagger UI brings is left out."""
    for rule in application().url_map.iter_rules():
        if rule.rule.startswith("/openapi/"):
            continue
        path = re.sub(r"<[^>]*>", "<>", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield rule.endpoint.startswith(f"{INTERNAL}."), method, path


def documented_routes(document: str) -> set[tuple[str, str]]:
    """Those that begin a row of a table."""
    found = [re.match(r"`([A-Z]+) (/[^`?]*)(\?[^`]*)?`", cells[0]) for cells in rows(read(document))]
    return {(match[1], re.sub(r"<[^>]*>", "<>", match[2])) for match in found if match}


# Settings -----------------------------------------------------------------------------------


def test_every_setting_is_in_the_readmes_table_and_no_other() -> None:
    assert settings_table().keys() == SETTINGS.keys()


@pytest.mark.parametrize("variable", SETTINGS)
def test_the_default_that_the_readme_tells_is_the_settings(variable: str) -> None:
    told = settings_table()[variable]
    default = getattr(settings_from({}), SETTINGS[variable])
    if variable in ("MESH_ADVERTISE", "MESH_DATA_DIR"):  # made of others
        assert "host" in told
    elif told in ("none", "empty"):
        assert not default
    else:
        assert getattr(settings_from({variable: told.strip("`")}), SETTINGS[variable]) == default


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_names_a_setting_that_does_not_exist(document: Path) -> None:
    assert set(_VARIABLE.findall(document.read_text(encoding="utf-8"))) <= SETTINGS.keys()


# Paths --------------------------------------------------------------------------------------


def test_the_api_document_has_every_public_path_and_no_other() -> None:
    assert documented_routes("docs/api.md") == {(method, path) for internal, method, path in routes() if not internal}


def test_the_api_document_has_every_operation_of_the_openapi_document() -> None:
    document = application().test_client().get("/openapi/openapi.json").get_json()
    operations = {
        (method.upper(), re.sub(r"\{[^}]*\}", "<>", path))
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert operations
    assert operations <= documented_routes("docs/api.md")


def test_the_protocol_document_has_every_internal_path_and_no_other() -> None:
    assert documented_routes("docs/protocol.md") == {(method, path) for internal, method, path in routes() if internal}


def test_the_api_document_has_every_status_that_an_operation_may_answer_with() -> None:
    document = application().test_client().get("/openapi/openapi.json").get_json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    statuses = {status for operation in operations for status in operation["responses"] if int(status) >= 400}
    told = {status for cells in rows(read("docs/api.md")) for status in cells[0].split(", ")}
    assert statuses
    assert statuses <= told


@pytest.mark.parametrize("option", [*OptionsIn.model_fields, "callback_url"])
def test_the_api_document_has_every_option_of_a_submission(option: str) -> None:
    assert any(cells[0] == f"`{option}`" for cells in rows(read("docs/api.md")))


# Words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_in_the_readmes_table_and_in_the_api_document(verdict: Verdict) -> None:
    assert any(f"`{verdict}`" in cells[0] for cells in rows(read("README.md")))
    assert f"`{verdict}`" in read("docs/api.md")


@pytest.mark.parametrize("status", sorted({*EvaluationStatus, *ProjectStatus}))
def test_every_status_is_in_the_api_document(status: str) -> None:
    assert f"`{status}`" in read("docs/api.md")


# Commands -----------------------------------------------------------------------------------


def test_the_operations_document_has_every_option_of_boot_and_no_other() -> None:
    source = read("boot.sh")
    cases = re.findall(r"^ +([^#\n]*--[^#\n]*)\) ", source, re.MULTILINE)
    taken = {option for case in cases for option in re.findall(r"--[a-z-]+", case)}
    told = {cells[0].strip("`").split()[0] for cells in rows(read("docs/operations.md")) if cells[0].startswith("`--")}
    assert "--demo" in taken
    assert told == taken


def command_options() -> set[tuple[str, str]]:
    """Command (none for the program itself) and option; `--url` and `--help` are every command's."""
    group = cast(Any, typer.main.get_command(cli.app))
    commands = {"none": group, **group.commands}
    return {
        (name, option)
        for name, command in commands.items()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-") and option not in ("--url", "--help")
    } | {("all", "--url"), ("all", "--help")}


def test_the_command_s_page_has_every_option_and_no_other() -> None:
    cells = [found for found in rows(read("docs/cli.md")) if len(found) == 3]
    told = {(found[0].strip("`"), option) for found in cells for option in re.findall(r"`(--?[a-z-]+)`", found[1])}
    assert told == command_options()


def test_the_command_s_page_has_every_command_and_no_other() -> None:
    group = cast(Any, typer.main.get_command(cli.app))
    named = [re.match(r"`testmesh ([a-z]+)", cells[0]) for cells in rows(read("docs/cli.md"))]
    assert {match[1] for match in named if match} == set(group.commands)


def test_the_command_s_page_has_every_variable_that_it_reads() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "testmesh").rglob("*.py"))
    told = {cells[0].strip("`") for cells in rows(read("docs/cli.md"))}
    assert set(re.findall(r"\"(TESTMESH_[A-Z_]+)\"", source)) <= told


def test_the_readme_shows_every_command_of_the_client() -> None:
    group = cast(Any, typer.main.get_command(cli.app))
    shown = set(re.findall(r"\btestmesh ([a-z]+)", "\n".join(_FENCE.findall(read("README.md")))))
    assert shown == set(group.commands)


# Links --------------------------------------------------------------------------------------


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading) for heading in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        place, _, anchor = unquote(link).partition("#")
        target = (document.parent / place).resolve() if place else document
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert f"docs/{page.name}" in {link.partition("#")[0] for link in _LINK.findall(read("README.md"))}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_page_has_one_diagram_at_most(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"!\[[^\]]*\]\([^)]*\.svg\)", text)) + text.count("```mermaid") <= 1


def test_no_picture_loads_anything() -> None:
    for picture in (ROOT / "docs" / "img").glob("*.svg"):
        text = picture.read_text(encoding="utf-8")
        assert not re.search(r"(?:href|src)=\"(?!#)|url\((?!#)|@import|@font-face|<script", text), picture.name


def test_every_picture_is_well_formed_and_shown_somewhere() -> None:
    shown = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    pictures = sorted((ROOT / "docs" / "img").glob("*.svg"))
    assert pictures
    for picture in pictures:
        ElementTree.parse(picture)
        assert picture.name in shown
