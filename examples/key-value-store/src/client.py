import socket

from src.protocol import decode, encode


class Client:
    def __init__(self, port, host="localhost"):
        self._socket = socket.create_connection((host, port), timeout=5)
        self._lines = self._socket.makefile("rb")

    def call(self, command, **arguments):
        self._socket.sendall(encode({"command": command, **arguments}))
        return decode(self._lines.readline())

    def close(self):
        self._lines.close()
        self._socket.close()
