"""A TCP server that sends back each line it gets, one thread a client."""

import socketserver
import threading

HOST, PORT = "localhost", 5000


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line.strip() == b"TIME?":
                self.wfile.write(b"no clock here\n")
            else:
                self.wfile.write(line.upper() if line.startswith(b"!") else line)


class EchoServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    daemon_threads = True


def start():
    server = EchoServer((HOST, PORT), EchoHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    start()
    threading.Event().wait()
