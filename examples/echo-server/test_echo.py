def ask(client, line):
    client.sendall(line)
    return client.makefile("rb").readline()


def test_a_line_comes_back(connect):
    assert ask(connect(), b"hello\n") == b"hello\n"


def test_exclamation_is_shouted(connect):
    assert ask(connect(), b"!hello\n") == b"!HELLO\n"


def test_a_connection_takes_several_lines(connect):
    client = connect()
    assert [ask(client, line) for line in (b"one\n", b"two\n", b"three\n")] == [b"one\n", b"two\n", b"three\n"]


def test_no_clock(connect):
    assert ask(connect(), b"TIME?\n") == b"no clock here\n"
