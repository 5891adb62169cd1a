"""``phoneme-moe serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import run_names
from phoneme_moe.cli.options import Device
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.system.extras import install_command
from phoneme_moe.system.terminal import print_error


def serve(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders or shipped models.", autocompletion=run_names),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for a free one.")] = 8642,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PHONEME_MOE_TOKEN",
            help="Password of every request; needed with a --host that others reach.",
        ),
    ] = None,
    public_host: Annotated[
        str | None,
        typer.Option(
            help="Name under which a proxy on this machine serves it, with TLS.",
            show_default="none",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve others without a --token.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Keep recordings, corrections and adapted runs here.", show_default="nothing"
        ),
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations, to take words as well as phonemes.")
    ] = None,
    max_seconds: Annotated[
        float, typer.Option(min=1, help="Longest recording in seconds.")
    ] = 600.0,
    max_mb: Annotated[float, typer.Option(min=0.1, help="Largest request in megabytes.")] = 100.0,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests that may wait; others get the status 429.")
    ] = 256,
    device: Device = "auto",
) -> None:
    """Serve runs over HTTP, with a page to speak to them in a browser.

    The page shows phonemes and the weights of the experts while you speak,
    takes experts away, scores pronunciation, and adapts a run to a voice.
    """
    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn
        import websockets
    except ImportError as error:
        raise InputError(f"serve: needs {error.name}: {install_command('serve')}") from error
    del fastapi, python_multipart, prometheus_client, uvicorn, websockets
    from phoneme_moe.serve.run_server import run_server
    from phoneme_moe.serve.served_runs import ServedRuns
    from phoneme_moe.serve.server import Server
    from phoneme_moe.serve.settings import Limits, ServerSettings

    limits = Limits(upload_bytes=round(max_mb * 1e6), audio_seconds=max_seconds, requests=queue)
    settings = ServerSettings(host, port, token or None, public_host, keep, lexicon, limits)
    if not settings.is_local and settings.token is None:
        if not insecure:
            raise ArgumentError(
                "host" if public_host is None else "public_host",
                f"found {public_host or host}, which others may reach; expected a --token as well, "
                "or --insecure",
            )
        print_error(
            f"phoneme-moe: WARNING: {public_host or host} is open: whoever reaches it can use the "
            "runs, see the names of their speakers and start adaptations"
        )
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    run_server(Server(ServedRuns(runs, device), settings), open_browser)
