"""An HTTP server that waits before each reply: ``python -m bench._slow_server MILLISECONDS``.

It runs apart, so that its CPU time is not counted. It prints its port, and serves until its input
ends.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import Final

import trio

__all__ = ["main"]

_BODY: Final = b'{"text":"to be or not to be"}'
_REPLY: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_BODY), _BODY)
)


def main() -> None:
    """Serve, each reply after as many milliseconds as the argument says."""
    trio.run(_serve, int(sys.argv[1]) / 1e3)


async def _serve(seconds: float) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(_answer, seconds), 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def _answer(seconds: float, stream: trio.SocketStream) -> None:
    """Answer the requests of one connection; they have no bodies, and come one by one."""
    received = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while more := await stream.receive_some():
            received += more
            if received.endswith(b"\r\n\r\n"):
                received = b""
                await trio.sleep(seconds)
                await stream.send_all(_REPLY)


if __name__ == "__main__":
    main()
