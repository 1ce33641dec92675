"""Serves the store on localhost:5001, one JSON document a line."""

import socketserver
import sys

from src.protocol import decode, encode
from src.store import Store

PORT = 5001


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            request = decode(line)
            self.wfile.write(encode(self.server.store.execute(request)))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    store = Store()


if __name__ == "__main__":
    with Server(("localhost", PORT), Handler) as server:
        print("listening on", PORT, file=sys.stderr)
        server.serve_forever()
