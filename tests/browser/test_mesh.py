"""A browser before a real mesh behind Nginx: submit, watch, look why, and lose a node meanwhile."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from testmesh.local import nginx
from tests.browser.synthetic import HOSTILE
from tests.support.mesh import RunningMesh, mesh, wait_for, zip_of
from tests.support.nginx import running_nginx

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    Window = Callable[..., BrowserContext]

pytestmark = pytest.mark.mesh

SCRIPT = "</script><script>document.title='owned'</script>"
FILES = {
    f"{HOSTILE}/test_bad.py": f"def test_bad():\n    print({SCRIPT!r})\n    assert 'left' == {SCRIPT!r}\n",
    "good/test_one.py": "def test_one():\n    pass\n",
    "good/test_two.py": "import time\n\ndef test_two():\n    time.sleep(1.5)\n",
}
_DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "application/zip" }));
  for (const kind of ["dragover", "drop"]) {
    document.getElementById("drop").dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
  }
}"""


@dataclass(frozen=True)
class Entrance:
    mesh: RunningMesh
    url: str
    is_nginx: bool


@pytest.fixture(scope="module")
def entrance(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entrance]:
    folder = tmp_path_factory.mktemp("mesh")
    with mesh(folder, 2) as running:
        if nginx.find_nginx() is None:
            yield Entrance(running, running[0].url, False)
            return
        with running_nginx(folder / "nginx", [node.address for node in running.nodes]) as port:
            yield Entrance(running, f"http://127.0.0.1:{port}", True)


def ended(page: "Page") -> None:
    page.locator("#live[data-state=ended]").wait_for(timeout=60_000)


def test_a_dropped_zip_is_watched_to_its_end_and_its_output_is_inert(
    window: "Window", entrance: Entrance, screenshots: Path
) -> None:
    page = window().new_page()
    page.goto(entrance.url)
    page.evaluate(_DROP, ["class.zip", base64.b64encode(zip_of(FILES)).decode()])
    assert "class.zip" in (page.locator("#chosen").text_content() or "")
    page.get_by_role("button", name="Grade").click()
    page.wait_for_url("**/dashboard/evaluation/*")
    ended(page)
    evaluation_id = page.url.rpartition("/")[2]
    document = entrance.mesh[0].get(f"/evaluation/{evaluation_id}")
    assert document["status"] == "done"
    assert page.locator("#nota").text_content() == f"{document['_run_info']['nota']:.2f}"
    assert page.locator("#matrix a.cell.t-good").count() == 2
    assert (page.locator("#status").text_content() or "").split() == ["✓", "done"]
    page.locator("svg.gantt rect").nth(2).wait_for(state="attached")
    page.screenshot(path=screenshots / "mesh-evaluation.png")
    page.locator("#matrix a.cell.t-bad").click()
    page.wait_for_url("**/module?*")
    assert SCRIPT in (page.locator("pre").last.text_content() or "")
    assert HOSTILE in (page.locator("header.title").text_content() or "")
    page.screenshot(path=screenshots / "mesh-module.png")
    assert "owned" not in page.title()


def test_what_is_wrong_with_an_upload_is_told_beside_the_form(
    window: "Window", entrance: Entrance, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"this is no zip")
    page = window().new_page()
    page.goto(entrance.url)
    page.locator("#file").set_input_files(broken)
    page.get_by_role("button", name="Grade").click()
    problem = page.locator("#problem:not([hidden])")
    problem.wait_for()
    assert "zip" in (problem.text_content() or "")
    assert page.url.rstrip("/") == entrance.url


def test_everything_goes_without_javascript(window: "Window", entrance: Entrance, tmp_path: Path) -> None:
    archive = tmp_path / "class.zip"
    archive.write_bytes(zip_of(FILES))
    page = window(java_script_enabled=False).new_page()
    page.goto(entrance.url)
    page.locator("#file").set_input_files(archive)
    page.get_by_role("button", name="Grade").click()
    page.wait_for_url("**/dashboard/evaluation/*")
    evaluation_id = page.url.rpartition("/")[2]
    entrance.mesh[0].wait_done(evaluation_id)
    wait_for(lambda: page.reload() and "done" in (page.locator("#status").text_content() or ""), what="the page's end")
    page.locator("#matrix a.cell.t-bad").click()
    assert SCRIPT in page.locator("pre").all_text_contents()[-1]
    page.go_back()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(re.compile(rf".*/dashboard/evaluation/(?!{evaluation_id})[0-9a-f-]+$"))
    page.locator("details.confirm summary").click()
    page.get_by_role("button", name="Cancel the evaluation").click()
    wait_for(lambda: page.reload() and "cancelled" in (page.locator("#status").text_content() or ""))


def test_the_page_goes_on_when_the_node_that_tells_it_is_killed(
    window: "Window", entrance: Entrance, screenshots: Path
) -> None:
    if not entrance.is_nginx:
        pytest.skip("Nginx is not installed")
    page = window().new_page()
    files = {f"p{i}/test_long.py": "import time\n\ndef test_long():\n    time.sleep(4)\n" for i in range(2)}
    evaluation_id = entrance.mesh[0].submit(zip_of(files))
    page.goto(f"{entrance.url}/dashboard/evaluation/{evaluation_id}")
    page.locator("#live[data-state=live]").wait_for()
    told_by = wait_for(lambda: next((node for node in entrance.mesh.nodes if streams(node.url) > 0), None))
    told_by.kill()
    try:
        page.locator("#live[data-state=again]").wait_for()
        ended(page)
        assert page.locator("#matrix a.cell.t-good").count() == 2
        page.screenshot(path=screenshots / "mesh-reconnected.png")
    finally:
        told_by.start()
        entrance.mesh.wait_joined()


def streams(url: str) -> float:
    told = requests.get(f"{url}/metrics", timeout=20).text
    found = re.search(r"^testmesh_event_streams ([0-9.]+)", told, re.MULTILINE)
    assert found
    return float(found[1])
