"""Running the server until a signal ends it."""

from __future__ import annotations

import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import uvicorn

from phoneme_moe.errors import InputError
from phoneme_moe.serve.app import create_app
from phoneme_moe.serve.server import Server
from phoneme_moe.system.terminal import print_error

GRACE_SECONDS = 30
"""How long running requests may take after the signal to end."""


def run_server(server: Server, open_browser: bool = False) -> None:
    """Serves until SIGINT or SIGTERM; requests that run are finished.

    Args:
        server: The server.
        open_browser: Whether to open the page in the user's browser.

    Raises:
        InputError: The port is taken, or the address is not one of this machine.
    """
    settings = server.settings
    listener = _listen(settings.host, settings.port)
    address = _address(settings.host, listener.getsockname()[1])
    config = uvicorn.Config(
        create_app(server),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=8_000_000,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=20,
    )
    link = (
        address if settings.token is None else f"{address}/?{urlencode({'token': settings.token})}"
    )

    def ready() -> None:
        print_error(f"phoneme-moe: serving at {address} (Ctrl-C ends)")
        if open_browser:
            threading.Thread(target=webbrowser.open, args=[link], daemon=True).start()

    with _signals_end_only_the_server():
        _Server(config, ready).run(sockets=[listener])
    print_error("phoneme-moe: stopped; what was running is finished")


class _Server(uvicorn.Server):
    """A server that tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()


@contextmanager
def _signals_end_only_the_server() -> Iterator[None]:
    """Keeps a signal from ending the command as well: uvicorn raises it again when it has ended."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    former = [signal.signal(number, lambda *_: None) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(512)
    except OSError as error:
        raise InputError(f"{host}:{port}: cannot listen there: {error.strerror}") from error
    return listener


def _address(host: str, port: int) -> str:
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{name}:{port}"
