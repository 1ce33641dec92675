# mypy: ignore-errors
"""A message broker: one JSON document a line, one thread a connection, always at the same port."""

import contextlib
import json
import socketserver
import sys
import threading

import course


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.subscribers = {}  # topic: connections
        self.last = {}  # topic: value

    def subscribe(self, topic, connection):
        with self.lock:
            self.subscribers.setdefault(topic, []).append(connection)
            connection.send({"agreed": topic})
            if course.KEEPS_LAST and topic in self.last:
                connection.send({"topic": topic, "value": self.last[topic]})

    def unsubscribe(self, topic, connection):
        with self.lock:
            if course.UNSUBSCRIBES and connection in self.subscribers.get(topic, []):
                self.subscribers[topic].remove(connection)
            connection.send({"agreed": topic})

    def publish(self, topic, value):
        with self.lock:
            self.last[topic] = value
            for name, connections in self.subscribers.items():
                if topic == name or topic.startswith(name + "/"):
                    for connection in connections:
                        connection.send({"topic": topic, "value": value})

    def leave(self, connection):
        with self.lock:
            for connections in self.subscribers.values():
                if connection in connections:
                    connections.remove(connection)


class Connection(socketserver.StreamRequestHandler):
    def send(self, document):
        with contextlib.suppress(OSError):  # its own thread will be told
            self.wfile.write(json.dumps(document).encode() + b"\n")

    def handle(self):
        state = self.server.state
        for line in self.rfile:
            try:
                order = json.loads(line)
            except ValueError:
                self.send({"error": "not understood"})
                continue
            if order["do"] == "subscribe":
                state.subscribe(order["topic"], self)
            elif order["do"] == "unsubscribe":
                state.unsubscribe(order["topic"], self)
            elif order["do"] == "publish":
                state.publish(order["topic"], order["value"])
            elif order["do"] == "topics":
                self.send({"topics": sorted(state.last)})
        state.leave(self)


class Broker(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    state = State()


if __name__ == "__main__":
    with Broker(("127.0.0.1", course.PORT), Connection) as broker:
        try:
            broker.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)
