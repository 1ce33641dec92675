from election import Process


def test_the_token_goes_round():
    group = [Process(number, []) for number in range(5)
    assert len(group) == 5
