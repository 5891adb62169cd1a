"""Running the server until it is told to end."""

from __future__ import annotations

import socket
import threading
import webbrowser

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
    print_error(f"phoneme-moe: serving at {address} (Ctrl-C ends)")
    config = uvicorn.Config(
        create_app(server),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=8_000_000,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=20,
    )
    if open_browser:
        link = address if settings.token is None else f"{address}/?token={settings.token}"
        threading.Timer(0.5, webbrowser.open, [link]).start()
    uvicorn.Server(config).run(sockets=[listener])


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
