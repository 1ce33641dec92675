"""The bully algorithm, without the network."""


class Process:
    def __init__(self, number, group):
        self.number = number
        self.alive = True
        self.group = group
        group.append(self)

    def elect(self):
        higher = [process for process in self.group if process.number > self.number and process.alive]
        return higher[0].elect() if higher else self.number
