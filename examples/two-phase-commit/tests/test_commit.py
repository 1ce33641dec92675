from coordinator import Participant, commit


def test_all_agree():
    assert commit([Participant(), Participant()]) == "committed"


def test_one_disagrees():
    assert commit([Participant(), Participant(vote=False)]) == "aborted"


def test_one_dies():
    assert commit([Participant(), Participant(fails=True)]) == "aborted"


def test_nobody_takes_part():
    assert commit([]) == "committed"
