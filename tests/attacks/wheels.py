"""A build backend that lies in the project (no traffic), and wheels as it makes them."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

# ruff: noqa: E501 - a text

# What runs while the environment is made. What it says becomes a module of the wheel, which the test then repeats.
BACKEND = """
import base64, contextlib, hashlib, io, os, sys, zipfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(directory, config_settings=None, metadata_directory=None):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        import hostile
        hostile.run()
    name = "loot-1.0-py3-none-any.whl"
    files = {{"loot.py": "SAID = " + ascii(said.getvalue()) + "\\n"}} | {more!r}
    files["loot-1.0.dist-info/METADATA"] = "Metadata-Version: 2.1\\nName: loot\\nVersion: 1.0\\n"
    files["loot-1.0.dist-info/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    record = []
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{{path}},sha256={{digest}},{{len(text.encode())}}")
        wheel.writestr("loot-1.0.dist-info/RECORD", "\\n".join([*record, "loot-1.0.dist-info/RECORD,,"]) + "\\n")
    return name
"""

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "loot"
version = "1.0"
"""


def building(code: str, more: Mapping[str, str] | None = None) -> dict[str, str | bytes]:
    """A project that runs `code`, the body of a function, when it is installed; `more` goes into its wheel."""
    body = "from kit import *\n\ndef run():\n" + "".join(f"    {line}\n" for line in code.strip("\n").splitlines())
    return {
        "requirements.txt": "./package\n",
        "package/pyproject.toml": PYPROJECT,
        "package/backend.py": BACKEND.format(more=dict(more or {})),
        "package/hostile.py": body,
    }


def wheel(files: Mapping[str, str]) -> bytes:
    """A wheel called loot 1.0 with these files."""
    given = dict(files) | {
        "loot-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: loot\nVersion: 1.0\n",
        "loot-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in given.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(text.encode())}")
        archive.writestr("loot-1.0.dist-info/RECORD", "\n".join([*record, "loot-1.0.dist-info/RECORD,,"]) + "\n")
    return out.getvalue()
