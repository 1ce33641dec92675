import socket
import struct

from src.broker import SERIALIZERS, Broker, send


class Queue:
    code = 0

    def __init__(self, topic):
        self.topic = topic
        self._socket = socket.create_connection((Broker.HOST, Broker.PORT), timeout=5)

    def subscribe(self):
        send(self._socket, self.code, {"command": "subscribe", "topic": self.topic})

    def push(self, value):
        send(self._socket, self.code, {"command": "publish", "topic": self.topic, "value": value})

    def pull(self):
        code, length = struct.unpack("!BH", self._socket.recv(3, socket.MSG_WAITALL))
        message = SERIALIZERS[code].loads(self._socket.recv(length, socket.MSG_WAITALL))
        return message["topic"], message["value"]

    def close(self):
        self._socket.close()


class JSONQueue(Queue):
    code = 0


class XMLQueue(Queue):
    code = 1


class PickleQueue(Queue):
    code = 2
