from src.balancer import RoundRobin


def test_each_in_turn():
    balancer = RoundRobin(["a", "b", "c"])
    assert [balancer.select() for _ in range(4)] == ["a", "b", "c", "a"]


def test_a_single_server():
    balancer = RoundRobin(["a"])
    assert [balancer.select() for _ in range(2)] == ["a", "a"]


def test_the_load_is_even():
    balancer = RoundRobin("abcd")
    chosen = [balancer.select() for _ in range(400)]
    assert {server: chosen.count(server) for server in "abcd"} == dict.fromkeys("abcd", 100)
