"""What all routes do with a request: options, recordings, errors, clients that go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal, ParamSpec, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.files.documents import Document
from phoneme_moe.serve.recognition_queue import QueueFullError
from phoneme_moe.serve.served_runs import LayerChange, ServedRun
from phoneme_moe.serve.server import Server
from phoneme_moe.serve.uploads import decode_upload, read_upload
from phoneme_moe.transcription.transcribe import Options

T = TypeVar("T")
P = ParamSpec("P")

LOOK_SECONDS = 0.5
"""How often the server looks whether a client that waits is still there."""


class RunQuery(BaseModel):
    """Which run."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str | None = None
    """Name of a run of the server; the first by default."""


class TranscriptionQuery(RunQuery):
    """Options of transcription, as of the command ``transcribe``."""

    name: str | None = None
    """Name of the recording in the result, if the body is the recording itself."""
    beam: int | None = None
    """Beam width, 0 for greedy decoding; the run's default if absent."""
    best: bool = False
    """The slow search with the fewest errors."""
    nbest: int = 1
    """Length of the n-best list."""
    symbols: Literal["arpabet", "ipa", "xsampa"] | None = None
    """Notation of the phonemes; that of the run's corpus if absent."""
    fold: Literal["timit39", "timit48", "classes"] | None = None
    """Smaller phoneme set to map onto."""
    channel: int | None = None
    """Channel, from 1; the mean of all channels if absent."""
    only_expert: str | None = None
    """Names of experts to route to, separated by commas."""
    without_expert: str | None = None
    """Names of experts to ablate, separated by commas."""
    gate_from: str | None = None
    """Speaker of the run's corpus whose mean weights are used; ``uniform`` for equal weights."""
    layer: str | None = None
    """Sparse layer to which the three overrides apply; all layers if absent."""

    def options(self) -> Options:
        """The options of decoding and notation."""
        # The channel is chosen when the recording is decoded.
        return Options(self.beam, self.nbest, self.symbols, self.fold)

    def changes(self) -> tuple[LayerChange, ...]:
        """The changes to the routing."""
        change = LayerChange(self.layer, self.only_expert, self.without_expert, self.gate_from)
        return () if change == LayerChange() else (change,)


def server_of(request: Request) -> Server:
    """The server that answers a request."""
    server: Server = request.app.state.server
    return server


@asynccontextmanager
async def recording_of(
    request: Request,
    rate: int,
    name: str | None = None,
    channel: int | None = None,
) -> AsyncIterator[Samples]:
    """The decoded recording of a request, with a place until the answer.

    Args:
        request: The request.
        rate: Samples per second to convert it to.
        name: Name of a recording that is the body itself.
        channel: Channel number, from 1; the mean of all channels by default.

    Raises:
        InputError: There is no usable recording.
        HTTPException: There is no free place (429).
    """
    server = server_of(request)
    try:
        with server.queue.place():
            content, name = await read_upload(request, name)
            most = server.settings.limits.audio_seconds
            yield await in_thread(server, decode_upload, content, name, rate, most, channel)
    except QueueFullError as full:
        raise HTTPException(
            429, "too many requests wait", {"retry-after": str(full.retry_after)}
        ) from full


def rate_of(served: ServedRun) -> int:
    """Samples per second that a run takes."""
    rate: int = served.spec.features["sample_rate"]
    return rate


async def in_thread(
    server: Server, function: Callable[P, T], *args: P.args, **keywords: P.kwargs
) -> T:
    """Runs a function in a thread, as many at a time as there are cores."""
    async with server.cores:
        return await asyncio.to_thread(function, *args, **keywords)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Waits for work, and cancels it if the client goes away.

    Raises:
        HTTPException: The client has gone (499, which nobody sees).
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                raise HTTPException(499, "the client has gone")
        return task.result()
    finally:
        task.cancel()


def is_form(request: Request) -> bool:
    """Whether the body of a request is a form, which may have a recording and further fields."""
    return request.headers.get("content-type", "").startswith("multipart/form-data")


def json_response(document: Document) -> Response:
    """A document as an answer, written once: FastAPI would validate it again."""
    return Response(document.model_dump_json(), media_type="application/json")
