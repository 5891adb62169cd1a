"""A server on the loopback interface that answers as badly as a test wants."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What is served, and the requests so far.

    ``cuts`` are bytes after which an answer ends and the connection with it, one for each request;
    ``stall`` holds an answer back after its first cut until it is set.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    has_ranges: bool = True
    tells_length: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stall: threading.Event | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            served.requests.append((self.path, self.headers.get("Range")))
            content = served.files.get(self.path)
            if content is None or served.status is not None:
                self.send_response(served.status or 404)
                for name, value in served.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                return
            start = 0
            requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if requested and served.has_ranges:
                start = int(requested[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                span = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", served.headers.get("Content-Range", span))
            else:
                self.send_response(200)
            for name, value in served.headers.items():
                if name != "Content-Range":
                    self.send_header(name, value)
            if served.tells_length and "Content-Length" not in served.headers:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if served.cuts:
                self.wfile.write(rest[: served.cuts.pop(0)])
                self.wfile.flush()
                if served.stall is not None:
                    served.stall.wait()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(rest)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served = Loopback(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            if served.stall is not None:
                served.stall.set()
            server.shutdown()
            thread.join()
