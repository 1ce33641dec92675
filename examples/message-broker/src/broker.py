"""A publish-subscribe broker: a 2 byte length before each message, last value kept for every topic."""

import selectors
import socket
import struct
import threading

from src.serializers import JSONSerializer, PickleSerializer, XMLSerializer

SERIALIZERS = {0: JSONSerializer, 1: XMLSerializer, 2: PickleSerializer}


class Broker:
    HOST, PORT = "localhost", 5000

    def __init__(self):
        self.subscribers = {}
        self.values = {}
        self._stopped = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((self.HOST, self.PORT))
        self._socket.listen(100)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def run(self):
        while not self._stopped.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                key.data(key.fileobj)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def stop(self):
        self._stopped.set()

    def _accept(self, listener):
        connection, _ = listener.accept()
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection):
        header = connection.recv(3, socket.MSG_WAITALL)
        if len(header) < 3:
            for subscribers in self.subscribers.values():
                subscribers.pop(connection, None)
            self._selector.unregister(connection)
            connection.close()
            return
        code, length = struct.unpack("!BH", header)
        message = SERIALIZERS[code].loads(connection.recv(length, socket.MSG_WAITALL))
        getattr(self, "_" + message["command"])(connection, code, message)

    def _subscribe(self, connection, code, message):
        topic = message["topic"]
        self.subscribers.setdefault(topic, {})[connection] = code
        for known, value in self.values.items():
            if known.startswith(topic):
                send(connection, code, {"topic": known, "value": value})

    def _publish(self, connection, code, message):
        topic, value = message["topic"], message["value"]
        self.values[topic] = value
        for prefix, subscribers in self.subscribers.items():
            if topic.startswith(prefix):
                for subscriber, spoken in subscribers.items():
                    send(subscriber, spoken, {"topic": topic, "value": value})


def send(connection, code, message):
    data = SERIALIZERS[code].dumps(message)
    connection.sendall(struct.pack("!BH", code, len(data)) + data)
