"""Browsers: the cookie in the place of a token, and pages of other sites."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from testmesh.app.factory import create_app
from testmesh.app.sessions import cookie_of
from testmesh.settings import Settings
from tests.support.fake_node import KNOWN_ID, FakeNode, add_finished
from tests.unit.app.test_submissions import problem

BODY = {"projects": ["https://github.com/a/b"]}
HERE = {"Origin": "http://localhost"}
ELSEWHERE = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:81"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]


@pytest.fixture
def guarded(node: FakeNode, tmp_path: Path) -> FlaskClient:
    add_finished(node)
    settings = Settings(data_dir=tmp_path, api_token="api-token", read_token="read-token")
    return create_app(node, settings).test_client()


def login(client: FlaskClient, token: str, **form: str) -> str:
    """Where the browser is led."""
    answer = client.post("/dashboard/login", data={"token": token, **form}, headers={"Accept": "text/html", **HERE})
    assert answer.status_code == 303
    assert answer.data == b""
    return answer.headers["Location"]


@pytest.mark.parametrize("token", ["api-token", "read-token", " read-token\n"])
def test_a_cookie_opens_what_a_token_opens_for_reading(guarded: FlaskClient, token: str) -> None:
    problem(guarded.get(f"/evaluation/{KNOWN_ID}"), 401)
    assert login(guarded, token) == "/"
    for path in (f"/evaluation/{KNOWN_ID}", f"/evaluation/{KNOWN_ID}/events", "/evaluation"):
        assert guarded.get(path).status_code == 200
    assert guarded.post("/dashboard/logout", headers=HERE).status_code == 303
    problem(guarded.get(f"/evaluation/{KNOWN_ID}"), 401)


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_is_not_the_token(guarded: FlaskClient) -> None:
    answer = guarded.post("/dashboard/login", data={"token": "read-token"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.split("; ")[1:] == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert "token" not in cookie
    assert cookie_of("read-token") in cookie
    secure = guarded.post("/dashboard/login", data={"token": "read-token"}, base_url="https://localhost")
    assert "Secure" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize(("said", "is_secure"), [("https", True), ("HTTPS, http", True), ("http", False), ("", False)])
def test_behind_a_proxy_that_speaks_https_the_cookie_is_for_https_alone(
    guarded: FlaskClient, said: str, is_secure: bool
) -> None:
    headers = {"X-Forwarded-Proto": said}
    answer = guarded.post("/dashboard/login", data={"token": "read-token"}, headers=headers)
    assert ("; Secure" in answer.headers["Set-Cookie"]) is is_secure


def test_only_the_api_tokens_cookie_changes_something_and_only_from_a_page_of_here(guarded: FlaskClient) -> None:
    login(guarded, "read-token")
    problem(guarded.post("/evaluation", json=BODY, headers=HERE), 401)
    login(guarded, "api-token")
    assert guarded.post("/evaluation", json=BODY, headers=HERE).status_code == 202
    assert guarded.post("/evaluation", json=BODY, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202
    problem(guarded.post("/evaluation", json=BODY), 401)
    for headers in ELSEWHERE:
        assert "another address" in problem(guarded.post("/evaluation", json=BODY, headers=headers), 401)
        problem(guarded.delete(f"/evaluation/{KNOWN_ID}", headers=headers), 401)


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_without_tokens_pages_of_other_sites_change_nothing(client: FlaskClient, headers: dict[str, str]) -> None:
    problem(client.post("/evaluation", json=BODY, headers=headers), 401)
    assert client.get("/evaluation", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, HERE, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_without_tokens_programs_and_our_own_pages_do(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/evaluation", json=BODY, headers=headers).status_code == 202


def test_a_token_in_the_header_is_enough_wherever_it_is_sent_from(guarded: FlaskClient) -> None:
    headers = {"Authorization": "Bearer api-token", "Origin": "http://tool.example"}
    assert guarded.post("/evaluation", json=BODY, headers=headers).status_code == 202


def test_a_wrong_token_leads_back_to_the_form_and_programs_get_401(guarded: FlaskClient) -> None:
    assert login(guarded, "wrong", next="/dashboard/nodes") == "/dashboard/login?failed=1&next=%2Fdashboard%2Fnodes"
    assert login(guarded, "") == "/dashboard/login?failed=1&next=%2F"
    problem(guarded.post("/dashboard/login", data={"token": "wrong"}), 401)
    problem(guarded.post("/dashboard/login", data={"token": "api-token"}, headers=ELSEWHERE[0]), 401)
    assert guarded.get_cookie("testmesh") is None


@pytest.mark.parametrize(
    ("given", "led"),
    [
        ("/dashboard/evaluation/x?project=a%20b", "/dashboard/evaluation/x?project=a%20b"),
        *[
            (bad, "/")
            for bad in ("//evil.example", "https://evil.example", "/\\evil.example", "/dashboard/\r\nX: y", "")
        ],
    ],
)
def test_a_login_leads_to_no_other_site(guarded: FlaskClient, given: str, led: str) -> None:
    assert login(guarded, "read-token", next=given) == led


@pytest.mark.parametrize("path", ["/", "/dashboard/", "/dashboard/evaluation/x?a=b"])
def test_pages_that_show_evaluations_lead_to_the_form(guarded: FlaskClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/dashboard/login?next=%2F")


@pytest.mark.parametrize("cookie", ["", "x", "api-token", cookie_of("other"), "é"])
def test_a_wrong_cookie_opens_nothing(guarded: FlaskClient, cookie: str) -> None:
    guarded.set_cookie("testmesh", cookie)
    problem(guarded.get("/evaluation"), 401)


def test_where_no_token_is_set_a_login_is_no_obstacle(client: FlaskClient) -> None:
    assert login(client, "") == "/"
    assert client.get_cookie("testmesh") is None
