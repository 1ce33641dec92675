"""pytest's configuration is looked for in the project alone, and there it is what plain pytest finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testmesh.testing.rootdir import root_arguments

SHOW = """
def test_show(request):
    config = request.config
    inipath = config.inipath.name if config.inipath and config.inipath.name != "null" else None
    print("SHOWN", config.rootpath.name, inipath, request.node.nodeid, flush=True)
"""
LAYOUTS: dict[str, dict[str, str]] = {
    "nothing at all": {"tests/test_show.py": SHOW},
    "its own ini": {"tests/test_show.py": SHOW, "pytest.ini": "[pytest]\n"},
    "an ini beside the tests": {"tests/test_show.py": SHOW, "tests/pytest.ini": "[pytest]\n"},
    "a pyproject without pytest": {"tests/test_show.py": SHOW, "pyproject.toml": "[project]\nname = 'x'\n"},
    "a pyproject with pytest": {"tests/test_show.py": SHOW, "pyproject.toml": "[tool.pytest.ini_options]\n"},
    "a setup.py": {"part/tests/test_show.py": SHOW, "part/setup.py": ""},
    "a setup.cfg without pytest": {"tests/test_show.py": SHOW, "setup.cfg": "[metadata]\nname = x\n"},
    "tests at the top": {"test_show.py": SHOW},
}


def lay_out(folder: Path, files: dict[str, str]) -> str:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return next(path for path in files if path.endswith("test_show.py"))


def shown(project: Path, arguments: list[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *arguments]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the suite's own are slow to import
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(line for line in done.stdout.splitlines() if "SHOWN" in line).partition("SHOWN ")[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_below_foreign_configuration_it_is_what_plain_pytest_finds_without_any(layout: str, tmp_path: Path) -> None:
    alone, below = tmp_path / "alone" / "app", tmp_path / "checkout" / "data" / "app"
    module = lay_out(alone, LAYOUTS[layout])
    lay_out(below, LAYOUTS[layout])
    foreign = {"pytest.ini": "[pytest]\naddopts = --no-such-option\n", "conftest.py": "raise RuntimeError('foreign')\n"}
    lay_out(tmp_path / "checkout", {"x/test_show.py": SHOW} | foreign)

    assert shown(below, [*root_arguments(below, module), module]) == shown(alone, [module])
