"""The public HTTP interface: transcribe, align, listen, runs, health and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response, WebSocket
from prometheus_client import CONTENT_TYPE_LATEST

from phoneme_moe import __version__
from phoneme_moe.audio.waveform import Samples
from phoneme_moe.errors import InputError
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.serve.documents import (
    ErrorDocument,
    LayerDocument,
    ServedRunDocument,
    ServerDocument,
)
from phoneme_moe.serve.live import LiveSession, SampleFormat, serve_live
from phoneme_moe.serve.requests import (
    RunQuery,
    TranscriptionQuery,
    in_thread,
    rate_of,
    recording_of,
    server_of,
    while_connected,
)
from phoneme_moe.serve.served_runs import LayerChange, ServedRun
from phoneme_moe.serve.server import Server
from phoneme_moe.serve.uploads import seconds_of
from phoneme_moe.transcription.align import Alignment, align_phonemes, align_text
from phoneme_moe.transcription.formats import FORMATS, Format, alignment_formats, alignment_text
from phoneme_moe.transcription.live import LiveSettings
from phoneme_moe.transcription.transcribe import Failure, Options, transcribe_files
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.writers.documents import AlignmentDocument, TranscriptDocument

MEDIA_TYPES = {
    "application/json": "json",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/vtt": "vtt",
    "application/x-subrip": "srt",
    "application/x-textgrid": "textgrid",
    "application/x-ctm": "ctm",
    "application/jsonl": "jsonl",
}
"""Output formats by media type, for the header Accept."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorDocument, "description": "The recording or an option cannot be used."},
    413: {"model": ErrorDocument, "description": "The recording is too large or too long."},
    429: {"model": ErrorDocument, "description": "Busy: try again after Retry-After seconds."},
}

_AUDIO: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

router = APIRouter()


@dataclass(frozen=True)
class Transcription:
    """A way to transcribe; recordings of equal ones are recognised together."""

    served: ServedRun
    options: Options
    changes: tuple[LayerChange, ...] = ()
    best: bool = False

    def recognize(self, recordings: Sequence[Samples]) -> Iterator[Transcript | Failure]:
        """Transcribes recordings; yields the results in order."""
        engine = self.served.engine(self.changes, best=self.best)
        # All at once: they have waited together, and the search over many costs little more.
        first_group = len(recordings)
        return transcribe_files(engine, list(recordings), self.options, first_group=first_group)


@router.post(
    "/v1/transcribe",
    response_model=TranscriptDocument,
    responses=REFUSALS,
    openapi_extra=_AUDIO,
)
async def transcribe(
    request: Request,
    query: Annotated[TranscriptionQuery, Query()],
) -> Response:
    """Transcribes a recording: a form with the field `file`, or the recording as the body.

    The answer is JSON, or any text format by the header Accept: text/plain, text/csv, text/vtt,
    application/x-textgrid, application/x-subrip, application/x-ctm.
    """
    server = server_of(request)
    served = server.runs.find(query.run)
    name = _accepted(request, list(FORMATS))
    task = Transcription(served, query.options(), query.changes(), query.best)
    async with recording_of(request, rate_of(served), query.name, query.channel) as recording:
        work = server.queue.recognize(task, recording, seconds_of(recording))
        transcript = await while_connected(request, work)
    return _formatted(FORMATS[name], name, transcript)


class AlignmentQuery(RunQuery):
    """What was spoken: phonemes, or a text."""

    name: str | None = None
    """Name of the recording in the result, if the body is the recording itself."""
    phonemes: str | None = None
    """Phonemes in order, separated by spaces."""
    text: str | None = None
    """Words, if the server has a dictionary."""
    symbols: Literal["arpabet", "ipa", "xsampa"] | None = None
    """Notation of the phonemes that are given and returned."""
    channel: int | None = None
    """Channel, from 1; the mean of all channels if absent."""


@router.post(
    "/v1/align", response_model=AlignmentDocument, responses=REFUSALS, openapi_extra=_AUDIO
)
async def align(request: Request, query: Annotated[AlignmentQuery, Query()]) -> Response:
    """Aligns a recording with its phonemes or text: times and goodness of each phoneme.

    The answer is JSON, or any format of `align --format` by the header Accept.
    """
    server = server_of(request)
    served = server.runs.find(query.run)
    name = _accepted(request, alignment_formats())
    async with recording_of(request, rate_of(served), query.name, query.channel) as recording:
        work = in_thread(server, _align, server, served, recording, query)
        alignment = await while_connected(request, work)
    return Response(alignment_text(alignment, name), media_type=_media_type(name))


def _align(
    server: Server, served: ServedRun, recording: Samples, query: AlignmentQuery
) -> Alignment:
    engine = served.engine()
    if (query.phonemes is None) == (query.text is None):
        raise InputError("phonemes: expected phonemes or a text")
    if query.phonemes is not None:
        return align_phonemes(engine, recording, query.phonemes.split(), symbols=query.symbols)
    assert query.text is not None
    if server.lexicon is None:
        raise InputError("text: the server was started without a dictionary")
    return align_text(engine, recording, query.text, server.lexicon, symbols=query.symbols)


@router.websocket("/v1/listen")
async def listen(
    socket: WebSocket,
    run: str | None = None,
    rate: int = 16_000,
    samples: SampleFormat = "s16le",
    step: float = LiveSettings.step,
    look_ahead: float = LiveSettings.look_ahead,
) -> None:
    """Recognises live speech: samples of one channel in, JSON events out; the text `end` ends."""
    server: Server = socket.app.state.server
    await socket.accept()
    try:
        if server.live_sessions >= server.settings.limits.live_sessions:
            raise InputError("too many microphones; try again later")
        if not 1000 <= rate <= 192_000:
            raise InputError(f"rate: found {rate}, expected 1000 to 192000")
        if not (0.01 <= step <= 5 and 0 <= look_ahead <= 5):
            raise InputError("step and look_ahead: expected 0.01 to 5 and 0 to 5 seconds")
        settings = LiveSettings(step, look_ahead)
        session = LiveSession(server.runs.find(run), rate, samples, settings)
    except InputError as error:
        await socket.send_json({"type": "error", "error": str(error)})
        await socket.close(1013 if "too many" in str(error) else 1008)
        return
    server.live_sessions += 1
    server.metrics.live_sessions.inc()
    try:
        await serve_live(socket, session)
    finally:
        server.live_sessions -= 1
        server.metrics.live_sessions.dec()


@router.get("/v1/runs", response_model=ServerDocument)
def runs(request: Request) -> ServerDocument:
    """The runs of this server, and what it can do."""
    server = server_of(request)
    documents = [_describe(served) for served in server.runs]
    most = max((len(layer.experts) for run in documents for layer in run.layers), default=1)
    limits = server.settings.limits
    return ServerDocument(
        version=__version__,
        runs=documents,
        formats={name: format.suffix for name, format in FORMATS.items()},
        expert_colours=expert_colours(most),
        has_lexicon=server.lexicon is not None,
        keeps=server.settings.keep is not None,
        max_seconds=limits.audio_seconds,
        max_upload_bytes=limits.upload_bytes,
    )


def _describe(served: ServedRun) -> ServedRunDocument:
    recipe, recognizer = served.run.recipe, served.run.recognizer
    layers = [LayerDocument(name=name, experts=list(e)) for name, e in served.layers.items()]
    return ServedRunDocument(
        name=served.name,
        recipe=recipe.name,
        description=recipe.description,
        corpus=recipe.corpus.name,
        corpus_is_prepared=served.corpus is not None,
        task=recognizer.task.kind,
        sample_rate=rate_of(served),
        phonemes=list(served.spec.phonemes.symbols),
        layers=layers,
        speakers=[] if served.corpus is None else list(served.corpus.speakers),
        live_problem=served.live_problem,
        adapts=served.adapts,
        has_report=served.report_page is not None,
        scores_pronunciation=served.scores_pronunciation,
        has_best=served.run.decoding.best is not None,
    )


@router.get("/healthz")
def health(request: Request) -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(server_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _accepted(request: Request, known: list[str]) -> str:
    """The output format that the header Accept names first; JSON by default.

    Raises:
        InputError: It names formats that there are not, and no other would do.
    """
    accept = request.headers.get("accept", "")
    types = [part.split(";")[0].strip() for part in accept.split(",") if part.strip()]
    for one in types:
        if MEDIA_TYPES.get(one) in known:
            return MEDIA_TYPES[one]
    if types and not {"*/*", "application/*"} & set(types):
        usable = ", ".join(kind for kind, name in MEDIA_TYPES.items() if name in known)
        raise InputError(f"accept: found {accept[:100]!r}, expected one of {usable}")
    return "json"


def _media_type(name: str) -> str:
    """The media type of an output format."""
    of_formats = {format: media for media, format in MEDIA_TYPES.items()}
    return of_formats.get(name, "text/plain")


def _formatted(format: Format, name: str, transcript: Transcript) -> Response:
    return Response(format.header + format.body(transcript), media_type=_media_type(name))
