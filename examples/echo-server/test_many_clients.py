from concurrent.futures import ThreadPoolExecutor


def exchange(connect, number):
    client = connect()
    client.sendall(b"client %d\n" % number)
    return client.makefile("rb").readline()


def test_twenty_clients_at_once(connect):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: exchange(connect, number), range(20)))
    assert answers == [b"client %d\n" % number for number in range(20)]


def test_a_silent_client_holds_up_nobody(connect):
    connect()
    assert exchange(connect, 1) == b"client 1\n"
