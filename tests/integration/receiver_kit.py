"""A web server on the loopback address that keeps what it is told, and answers as the test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """Keeps the JSON that is posted to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[Message] = []
        self.status = 200
        #: While it is clear, an answer waits.
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def notices(self) -> list[dict[str, Any]]:
        """Return all notices of all messages of webhooks."""
        return [each for message in list(self.got) for each in message["notices"]]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.open.wait(60)
        if self.server.status < 300:
            self.server.got.append(json.loads(body))
        self.server.paths.append(self.path)
        self.server.headers.append(self.headers)
        try:
            self.send_response(self.server.status)
            self.end_headers()
        except OSError:
            pass  # Whoever asked has gone.

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
