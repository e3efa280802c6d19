"""A server for plugins whose replies are held back until a test lets them go."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, final

from tests.serve.server_process import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HeldReplies", "held_replies"]


@final
class HeldReplies:
    """The server.

    Attributes:
        url: where it is.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.go = threading.Event()
        self._held = 0
        self._more = threading.Condition()

    def hold(self) -> None:
        with self._more:
            self._held += 1
            self._more.notify_all()
        self.go.wait(SECONDS)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests are there."""
        with self._more:
            assert self._more.wait_for(lambda: self._held >= count, SECONDS), self._held


@contextlib.contextmanager
def held_replies() -> Iterator[HeldReplies]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.hold()
            with contextlib.suppress(OSError):  # the guest may be gone
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Handler) as server:
        held = HeldReplies(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield held
        finally:
            held.go.set()
            server.shutdown()
            thread.join()
