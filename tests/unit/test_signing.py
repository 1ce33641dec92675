"""Signatures between nodes: what was changed, replayed or not signed is refused; everything else gets through."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testmesh.errors import UnauthorizedError
from testmesh.signing import EMPTY_SHA256, WINDOW, RequestSigner, RequestVerifier

SECRET, NODE, BODY = "a secret of the mesh", "10.0.0.1:5001", hashlib.sha256(b"{}").hexdigest()


def connected(verifier: RequestVerifier, peer: str | None = NODE, secret: str = SECRET) -> RequestSigner:
    signer = RequestSigner(secret, peer)
    assert signer.learn(verifier.challenge())
    return signer


def signed(signer: RequestSigner, method: str = "POST", target: str = "/join?x=1", body: str = BODY) -> str:
    headers = signer.headers_for(method, target, body)
    assert headers is not None
    return headers["Authorization"]


def test_a_signed_request_passes_and_tells_its_body_hash() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    assert verifier.verify(signed(connected(verifier)), "POST", "/join?x=1").body_sha256 == BODY


def test_nothing_is_signed_before_a_challenge() -> None:
    assert RequestSigner(SECRET, NODE).headers_for("GET", "/ping", EMPTY_SHA256) is None


@pytest.mark.parametrize("header", [None, "", "Bearer abc", "Mesh", "Mesh nonce=,seq=1,body=,signature=", "Mesh ü"])
def test_an_unsigned_request_is_refused(header: str | None) -> None:
    with pytest.raises(UnauthorizedError):
        RequestVerifier(SECRET, NODE).verify(header, "GET", "/ping")


def test_another_secret_is_refused() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    with pytest.raises(UnauthorizedError):
        verifier.verify(signed(connected(verifier, secret="another secret")), "POST", "/join?x=1")


@given(method=st.text(max_size=8), target=st.text(max_size=30))
def test_any_other_method_or_target_is_refused(method: str, target: str) -> None:
    verifier = RequestVerifier(SECRET, NODE)
    header = signed(connected(verifier))
    if (method, target) != ("POST", "/join?x=1"):
        with pytest.raises(UnauthorizedError):
            verifier.verify(header, method, target)
    verifier.verify(header, "POST", "/join?x=1")


@given(data=st.data())
def test_any_change_of_the_header_is_refused(data: st.DataObject) -> None:
    verifier = RequestVerifier(SECRET, NODE)
    header = signed(connected(verifier))
    place = data.draw(st.integers(0, len(header) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdef, =").filter(lambda new: new != header[place]))
    with pytest.raises(UnauthorizedError):
        verifier.verify(header[:place] + letter + header[place + 1 :], "POST", "/join?x=1")


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_fields_cannot_run_into_each_other(method: str, target: str, other_method: str, other_target: str) -> None:
    verifier = RequestVerifier(SECRET, NODE)
    header = signed(connected(verifier), method, target)
    if (method, target) == (other_method, other_target):
        verifier.verify(header, other_method, other_target)
    else:
        with pytest.raises(UnauthorizedError):
            verifier.verify(header, other_method, other_target)


def test_a_replay_is_refused() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    header = signed(connected(verifier))
    verifier.verify(header, "POST", "/join?x=1")
    with pytest.raises(UnauthorizedError, match="seen before"):
        verifier.verify(header, "POST", "/join?x=1")


@given(st.permutations(list(range(40))))
def test_any_order_is_accepted_once(order: list[int]) -> None:
    verifier = RequestVerifier(SECRET, NODE)
    signer = connected(verifier)
    headers = [signed(signer) for _ in order]
    for number in order:
        verifier.verify(headers[number], "POST", "/join?x=1")
    for header in headers:
        with pytest.raises(UnauthorizedError):
            verifier.verify(header, "POST", "/join?x=1")


@pytest.mark.parametrize(("ahead", "passes"), [(WINDOW - 1, True), (WINDOW, False), (3 * WINDOW, False)])
def test_a_request_may_be_overtaken_by_less_than_the_window(ahead: int, passes: bool) -> None:
    verifier = RequestVerifier(SECRET, NODE)
    signer = connected(verifier)
    late = signed(signer)
    for _ in range(ahead - 1):
        signer.headers_for("GET", "/", EMPTY_SHA256)
    verifier.verify(signed(signer), "POST", "/join?x=1")
    if passes:
        verifier.verify(late, "POST", "/join?x=1")
    with pytest.raises(UnauthorizedError):
        verifier.verify(late, "POST", "/join?x=1")


def test_what_was_recorded_under_a_forgotten_session_cannot_be_replayed() -> None:
    verifier = RequestVerifier(SECRET, NODE, max_sessions=3)
    recorded = []
    for _ in range(10):
        header = signed(connected(verifier))
        verifier.verify(header, "POST", "/join?x=1")
        recorded.append(header)
    for header in recorded:
        with pytest.raises(UnauthorizedError):
            verifier.verify(header, "POST", "/join?x=1")


def test_a_client_whose_session_was_forgotten_goes_on_after_one_challenge() -> None:
    verifier = RequestVerifier(SECRET, NODE, max_sessions=2)
    old = connected(verifier)
    verifier.verify(signed(old), "POST", "/join?x=1")
    for _ in range(2):
        verifier.verify(signed(connected(verifier)), "POST", "/join?x=1")
    with pytest.raises(UnauthorizedError):
        verifier.verify(signed(old), "POST", "/join?x=1")
    assert old.learn(verifier.challenge())
    verifier.verify(signed(old), "POST", "/join?x=1")


def test_challenges_and_unsigned_requests_make_no_session() -> None:
    verifier = RequestVerifier(SECRET, NODE, max_sessions=1)
    signer = connected(verifier)
    verifier.verify(signed(signer), "POST", "/join?x=1")
    stranger = RequestSigner("not the secret", NODE)
    for _ in range(50):
        stranger.learn(verifier.challenge())
        with pytest.raises(UnauthorizedError):
            verifier.verify(signed(stranger), "POST", "/join?x=1")
    verifier.verify(signed(signer), "POST", "/join?x=1")


def test_a_restarted_verifier_knows_no_old_nonce_and_its_client_recovers_with_one_challenge() -> None:
    signer = connected(RequestVerifier(SECRET, NODE))
    restarted = RequestVerifier(SECRET, NODE)
    with pytest.raises(UnauthorizedError, match="present run"):
        restarted.verify(signed(signer), "POST", "/join?x=1")
    assert signer.learn(restarted.challenge())
    restarted.verify(signed(signer), "POST", "/join?x=1")


def test_a_request_meant_for_one_node_is_refused_by_another() -> None:
    other = RequestVerifier(SECRET, "10.0.0.2:5001")
    relayed = other.challenge().replace("10.0.0.2:5001", NODE)  # an impostor at NODE hands on the other's nonce
    signer = RequestSigner(SECRET, NODE)
    assert signer.learn(relayed)
    with pytest.raises(UnauthorizedError):
        other.verify(signed(signer), "POST", "/join?x=1")


@pytest.mark.parametrize("challenge", [None, "", "Bearer", 'Mesh nonce="zz", node="10.0.0.1:5001"'])
def test_what_is_no_challenge_is_not_learnt(challenge: str | None) -> None:
    assert not RequestSigner(SECRET, NODE).learn(challenge)


def test_a_challenge_of_another_node_is_learnt_only_by_who_does_not_know_the_peer_yet() -> None:
    challenge = RequestVerifier(SECRET, "10.0.0.2:5001").challenge()
    assert not RequestSigner(SECRET, NODE).learn(challenge)
    assert RequestSigner(SECRET, None).learn(challenge)


def test_learning_a_nonce_twice_repeats_no_number() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    challenge = verifier.challenge()
    signer = RequestSigner(SECRET, NODE)
    for _ in range(2):
        signer.learn(challenge)
        verifier.verify(signed(signer), "POST", "/join?x=1")


def test_many_threads_share_one_session_without_a_number_twice() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    signer = connected(verifier)

    def send(_: int) -> str:
        header = signed(signer)
        verifier.verify(header, "POST", "/join?x=1")
        return header

    with ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(send, range(400)))
    assert len(set(headers)) == 400


def test_of_many_replays_at_once_one_passes() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    header = signed(connected(verifier))

    def replay(_: int) -> bool:
        try:
            verifier.verify(header, "POST", "/join?x=1")
        except UnauthorizedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(replay, range(50))) == 1


def test_an_answer_is_believed_only_unchanged_and_to_its_own_request() -> None:
    verifier = RequestVerifier(SECRET, NODE)
    signer = connected(verifier)
    headers = signer.headers_for("GET", "/ping", EMPTY_SHA256)
    other = signer.headers_for("GET", "/ping", EMPTY_SHA256)
    assert headers is not None
    assert other is not None
    request = verifier.verify(headers["Authorization"], "GET", "/ping")
    signature = verifier.sign_answer(request, 200, b"{}")
    assert signer.verify_answer(headers, 200, b"{}", signature)
    assert not signer.verify_answer(headers, 201, b"{}", signature)
    assert not signer.verify_answer(headers, 200, b"[]", signature)
    assert not signer.verify_answer(other, 200, b"{}", signature)
    assert not signer.verify_answer(headers, 200, b"{}", request.signature)
    assert not signer.verify_answer(headers, 200, b"{}", None)
    assert not signer.verify_answer(headers, 200, b"{}", "ü")
    assert not signer.verify_answer({}, 200, b"{}", signature)


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(vars(RequestSigner(SECRET, NODE))) + repr(vars(RequestVerifier(SECRET, NODE)))
