import os
from pathlib import Path

import pytest

from testmesh.testing.install_failures import installer_words, is_infrastructure
from testmesh.testing.package_index import machine_index, without_credentials


def test_files_are_read_below_variables_and_told_to_both_installers(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://a/simple\nretries = 4\n[install]\nfind-links =\n  /w1\n  /w2\n")
    found = machine_index(
        {
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": str(config),
            "PIP_RETRIES": "1",
            "PIP_EXTRA_INDEX_URL": "https://b https://c",
        }
    )
    pip, uv = found.pip_environment(), found.uv_environment()
    assert (pip["PIP_INDEX_URL"], uv["UV_DEFAULT_INDEX"]) == ("https://a/simple", "https://a/simple")
    assert (pip["PIP_FIND_LINKS"], uv["UV_FIND_LINKS"]) == ("/w1 /w2", "/w1,/w2")
    assert (pip["PIP_RETRIES"], uv["UV_HTTP_RETRIES"]) == ("1", "1")
    assert (uv["UV_INDEX"], uv["UV_INDEX_STRATEGY"]) == ("https://b https://c", "unsafe-best-match")
    assert pip["PIP_CONFIG_FILE"] == "/dev/null"


def test_uvs_own_variables_win_for_uv() -> None:
    found = machine_index(
        {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": "https://a",
            "UV_DEFAULT_INDEX": "https://b",
            "UV_CACHE_DIR": "/c",
        }
    )
    assert found.uv_environment() == {"UV_DEFAULT_INDEX": "https://b"}
    assert "UV_DEFAULT_INDEX" not in found.pip_environment()


def test_pip_always_retries_once_since_its_warning_tells_the_lost_connection() -> None:
    assert machine_index({"PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}).pip_environment()["PIP_RETRIES"] == "2"


_PIP_LOST = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/flask/\n"
    "ERROR: Could not find a version that satisfies the requirement flask (from versions: none)\n"
)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("error: Failed to fetch: http://x/\n  cause: error sending request for url (http://x/)", True),
        ("error: Failed to fetch\n  cause: HTTP status server error (503 Unavailable) for url (http://x/)", True),
        ("error: failed to write\n  cause: No space left on device (os error 28)", True),
        (_PIP_LOST, True),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", True),
        (
            "  × installing build dependencies did not run successfully.\n  ╰─> [2 lines of output]\n      "
            + _PIP_LOST.replace("\n", "\n      ") + "[end of output]",
            True,
        ),
        ("ERROR: Could not find a version that satisfies the requirement x (from versions: none)", False),
        (_PIP_LOST.replace("none", "1.0, 2.0"), False),
        ("error: No solution found\n  cause: Because there is no version of x==9", False),
        ("error: Failed to fetch\n  cause: HTTP status client error (404 Not Found) for url (http://x/)", False),
        ("error: The build failed\n\n     [stderr]\n     [Errno 28] No space left on device", False),
        ("  × Building wheel failed.\n  ╰─> [1 lines of output]\n      SSLError\n      [end of output]\n", False),
    ],
)  # fmt: skip
def test_whose_fault_it_is_is_read_from_the_installers_words_not_the_builds(output: str, expected: bool) -> None:
    assert is_infrastructure(output) is expected


def test_words_are_bounded_and_show_no_path_or_credentials() -> None:
    output = "Resolved 3 packages in 1ms\n\x1b[31merror\x1b[0m: /data/work/x at https://me:secret@host/\n" + "y" * 9000
    words = installer_words(output, ("/data/work/",))
    assert words.startswith("error: x at https://host/")
    assert len(words) < 5000


def test_foreign_code_sees_urls_without_user_and_password() -> None:
    environ = {
        "UV_INDEX": "https://user:p@ss@host/simple other=https://token@host:8080/x",
        "HTTP_PROXY": "http://user:word@proxy:3128",
        "PIP_INDEX_URL": "https://host/a@b",
        "PATH": "/usr/bin:/bin",
    }
    assert without_credentials(environ) == {
        "UV_INDEX": "https://host/simple other=https://host:8080/x",
        "HTTP_PROXY": "http://proxy:3128",
        "PIP_INDEX_URL": "https://host/a@b",
        "PATH": "/usr/bin:/bin",
    }


def test_the_files_that_it_names_are_told(tmp_path: Path) -> None:
    links, remote = tmp_path / "links", "https://host/links"
    index = machine_index(
        {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": f"{links} {remote} file://{links}/more",
            "PIP_CERT": str(tmp_path / "ca.pem"),
        }
    )
    assert set(index.files()) == {links, links / "more", tmp_path / "ca.pem"}
