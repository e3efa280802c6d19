"""The server on a terminal, where signals come from keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.serve.http_client import call, get, initialize
from tests.serve.plugin_files import write_plugin
from tests.serve.server_process import SECONDS

if TYPE_CHECKING:
    from pathlib import Path

CTRL_C = b"\x03"


class Terminal:
    """A terminal of its own, and what it shows."""

    def __init__(self, *args: str | Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wasmpool", "serve", *map(str, args)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - its terminal
        )
        os.close(slave)
        self.shown = ""
        self._more = threading.Condition()
        self._ended = threading.Event()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: text in self.shown, SECONDS), self.shown

    def hang_up(self) -> None:
        """Close the terminal, as a window is closed."""
        if not self._ended.is_set():
            self._ended.set()
            self._reading.join()
            os.close(self.master)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def _read(self) -> None:
        while not self._ended.is_set():
            if not select.select([self.master], [], [], 0.05)[0]:
                continue  # a read that waits would keep the terminal open
            try:
                part = os.read(self.master, 65536)
            except OSError:  # EIO is how a terminal ends
                return
            with self._more:
                self.shown += part.decode()
                self._more.notify_all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_ctrl_c_end_a_server_on_a_terminal(tmp_path: Path, workers: str) -> None:
    """The first lets a call go on, the second ends it; no traceback of any process is shown."""
    write_plugin(tmp_path / "slow.wasm", "nap", seconds=60)
    terminal = Terminal(tmp_path, "--http", "127.0.0.1:0", "--workers", workers)
    try:
        for number in range(1, int(workers) + 1):
            prefix = f"worker {number}: " if workers != "1" else ""
            terminal.wait_for(f"{prefix}info: serving 1 tool of 1 plugin")
        port = int(terminal.shown.partition("http://127.0.0.1:")[2].split()[0])
        with ThreadPoolExecutor(1) as pool:
            napping = pool.submit(call, port, "nap", {}, **initialize(port))
            while not re.search(r"wasmpool_serve_calls\S* 1\.0", get(port, "/metrics").text):
                pass
            terminal.press(CTRL_C)
            terminal.wait_for("1 call under way")
            terminal.press(CTRL_C)
            assert terminal.process.wait(SECONDS) == 128 + signal.SIGINT
            assert napping.exception() is not None
    finally:
        terminal.close()
    assert "Traceback" not in terminal.shown


@pytest.mark.slow
def test_ctrl_c_ends_a_server_that_reads_the_terminal() -> None:
    """It waits for a line that nobody types."""
    terminal = Terminal()
    try:
        terminal.wait_for("info: serving 10 tools of 1 plugin")
        terminal.press(CTRL_C)
        assert terminal.process.wait(SECONDS) == 0
    finally:
        terminal.close()
    assert "Traceback" not in terminal.shown


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_its_server(tmp_path: Path) -> None:
    """Its SIGHUP asks for no reload: nobody would know of a server that goes on."""
    write_plugin(tmp_path / "quick.wasm", "quick")
    terminal = Terminal(tmp_path, "--http", "127.0.0.1:0")
    try:
        terminal.wait_for("info: serving 1 tool of 1 plugin")
        terminal.hang_up()
        assert terminal.process.wait(SECONDS) == 0
    finally:
        terminal.close()
