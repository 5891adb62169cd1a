"""Settings of the server, as plain data."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a server takes on at most.

    Attributes:
        upload_bytes: Size of a request.
        audio_seconds: Length of a recording.
        requests: Requests that are waiting or running; further ones get the status 429.
        waiting_seconds: Speech of all requests that wait, in seconds, which bounds memory.
        upload_bytes_in_all: Size of all requests that are being read.
        live_sessions: Microphones at the same time.
        batch: Recordings that are recognised together.
    """

    upload_bytes: int = 100 * MEGABYTE
    audio_seconds: float = 600.0
    requests: int = 256
    waiting_seconds: float = 3600.0
    upload_bytes_in_all: int = 1000 * MEGABYTE
    live_sessions: int = 8
    batch: int = 32


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes:
        host: Address to listen at.
        port: Port to listen at.
        token: Password that every request must have; None for none.
        public_host: Name under which a proxy on this machine serves others; None without one.
        keep: Folder for recordings, corrections and adapted runs; None to keep nothing.
        lexicon: Pronunciation dictionary for texts; None to take phonemes only.
        limits: What the server takes on at most.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    token: str | None = None
    public_host: str | None = None
    keep: Path | None = None
    lexicon: Path | None = None
    limits: Limits = Limits()

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach the server."""
        return is_loopback(self.host) and self.public_host is None

    def answers_to(self, name: str) -> bool:
        """Whether a request may call the server by this name, which has no port.

        At an address that others reach, the server cannot know all names of the machine; there the
        token protects it.
        """
        return not is_loopback(self.host) or is_loopback(name) or name == self.public_host


def is_loopback(host: str) -> bool:
    """Whether an address, with or without brackets, means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
