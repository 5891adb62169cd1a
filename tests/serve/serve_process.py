"""A server in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import urllib.request

from waiting import exit_code, wait_until


class Process:
    """``phoneme-moe serve`` at a free port."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "phoneme_moe", "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        wait_until(lambda: self.address is not None, self.process)

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def address(self) -> str | None:
        """Where it answers; None before it does."""
        found = re.search(r"http://[\d.]+:\d+", "".join(self.lines))
        return None if found is None else found[0]

    def post(self, content: bytes, path: str = "/v1/transcribe") -> bytes:
        """Sends a recording."""
        request = urllib.request.Request(f"{self.address}{path}", content)
        request.add_header("content-type", "application/octet-stream")
        with urllib.request.urlopen(request) as answer:
            return bytes(answer.read())

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the exit status."""
        self.process.send_signal(number)
        return exit_code(self.process)

    def kill(self) -> None:
        """Ends it in any case."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
