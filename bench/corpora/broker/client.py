# mypy: ignore-errors
"""Talking to the broker."""

import json
import socket
import time

import course


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", course.PORT), timeout=10)
        self.lines = self.socket.makefile("rb")
        self.early = []  # what came before the answer that was waited for

    def close(self):
        self.lines.close()
        self.socket.close()

    def send(self, **order):
        self.socket.sendall(json.dumps(order).encode() + b"\n")

    def subscribe(self, topic):
        self.agree(do="subscribe", topic=topic)

    def unsubscribe(self, topic):
        self.agree(do="unsubscribe", topic=topic)

    def agree(self, **order):
        self.send(**order)
        while (document := self.read(10)) and "agreed" not in document:
            self.early.append(document)

    def publish(self, topic, value):
        self.send(do="publish", topic=topic, value=value)

    def topics(self):
        self.send(do="topics")
        return self.receive()["topics"]

    def receive(self, seconds=10.0):
        """The next document, None where there is none in that time."""
        return self.early.pop(0) if self.early else self.read(seconds)

    def read(self, seconds):
        self.socket.settimeout(seconds)
        try:
            line = self.lines.readline()
        except TimeoutError:
            self.lines = self.socket.makefile("rb")  # a file is of no use after a time-out
            return None
        return json.loads(line) if line else None


def pause(seconds):
    """As students do: it will have happened by then."""
    time.sleep(seconds * course.PACE)
