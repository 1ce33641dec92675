import pytest

from src.balancer import LeastConnections, LeastResponseTime


@pytest.fixture
def by_time():
    return LeastResponseTime(["a", "b"])


def test_the_first_is_any():
    assert LeastConnections(["a", "b"]).select() in "ab"


def test_connections_spread():
    balancer = LeastConnections(["a", "b", "c"])
    print("connections before:", balancer.connections)
    assert sorted(balancer.select() for _ in range(3)) == ["a", "b", "c"]


def test_a_released_server_is_next():
    balancer = LeastConnections(["a", "b"])
    first, second = balancer.select(), balancer.select()
    balancer.release(second)
    assert balancer.select() == second


def test_release_takes_one_off():
    balancer = LeastConnections(["a"])
    balancer.release(balancer.select())
    assert balancer.connections == {"a": 0}


def test_the_quickest_is_chosen(by_time):
    by_time.times = {"a": [2.0], "b": [1.0]}
    assert by_time.select() == "b"
