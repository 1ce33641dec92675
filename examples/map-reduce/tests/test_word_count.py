from map_reduce import word_count


def test_words_are_counted():
    assert "b  2" in word_count(["a b", "b"])


def test_nothing_to_count():
    assert word_count([]) == ""
