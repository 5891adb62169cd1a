"""What the page needs beyond the public interface; programs may use it, too."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_bytes
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.run import report_run
from phoneme_moe.serve.documents import (
    AdaptationResult,
    ExamplesDocument,
    InspectionDocument,
    JobDocument,
    KeptDocument,
    SavedDocument,
    SpeakersDocument,
)
from phoneme_moe.serve.examples import example_recording, examples
from phoneme_moe.serve.inspection import View, inspect_recording
from phoneme_moe.serve.jobs import Job
from phoneme_moe.serve.labelled_speech import (
    LabelledUtterance,
    UtteranceInput,
    as_transcript,
    speaker_name,
    wav_bytes,
    write_labelled,
    zip_labelled,
)
from phoneme_moe.serve.nearest_speakers import place_among_speakers
from phoneme_moe.serve.requests import (
    RunQuery,
    in_thread,
    rate_of,
    recording_of,
    server_of,
    while_connected,
)
from phoneme_moe.serve.routes import REFUSALS
from phoneme_moe.serve.served_runs import LayerChange, ServedRun
from phoneme_moe.serve.server import Server
from phoneme_moe.serve.uploads import decode_upload, plain_name
from phoneme_moe.training.adapt import adapt
from phoneme_moe.transcription.formats import FORMATS

PLAYED_RATE = 16_000
"""Samples per second of recordings that a browser cannot decode itself."""

MAX_UTTERANCES = 500
"""Most corrected utterances of a request."""

_ID = re.compile(r"[0-9a-f]{32}")

router = APIRouter()


class ChangeInput(Document):
    """A change to the routing of a layer."""

    layer: str | None = None
    only_expert: str | None = None
    without_expert: str | None = None
    gate_from: str | None = None


class ViewInput(Document):
    """The field ``view`` of POST /v1/inspect."""

    layer: str | None = None
    changes: list[ChangeInput] = Field(default=[], max_length=64)
    beam: Annotated[int, Field(ge=0, le=256)] | None = None
    best: bool = False
    compare: str = Field(default="", max_length=200_000)
    reference: str = Field(default="", max_length=200_000)

    def view(self) -> View:
        """The same as a plain value."""
        changes = tuple(
            LayerChange(c.layer, c.only_expert, c.without_expert, c.gate_from) for c in self.changes
        )
        return View(self.layer, changes, self.beam, self.best, self.compare, self.reference)


@router.post("/v1/inspect", response_model=InspectionDocument, responses=REFUSALS)
async def inspect(request: Request, query: Annotated[RunQuery, Query()]) -> Response:
    """Transcript, weights of every frame, and what a changed routing does.

    A form with the recording in `file` and JSON in `view`: layer, changes (each with layer,
    only_expert, without_expert, gate_from), beam, best, compare (phonemes of another transcript)
    and reference (what was spoken).
    """
    server = server_of(request)
    served = server.runs.find(query.run)
    async with recording_of(request, rate_of(served)) as recording:
        text = (await request.form()).get("view", "{}") if _is_form(request) else "{}"
        view = ViewInput.parse_json(str(text), "view").view()
        work = in_thread(server, inspect_recording, served, recording, view, server.lexicon)
        document = await while_connected(request, work)
    return _json(document)


@router.post("/v1/audio", responses=REFUSALS)
async def audio(request: Request) -> Response:
    """A recording as WAV, for browsers that cannot decode its format."""
    server = server_of(request)
    async with recording_of(request, PLAYED_RATE) as recording:
        content = await in_thread(server, wav_bytes, recording)
    return Response(content, media_type="audio/wav")


@router.get("/v1/examples", response_model=ExamplesDocument)
def list_examples(request: Request, query: Annotated[RunQuery, Query()]) -> ExamplesDocument:
    """Utterances of the test split of the run's corpus, if it is prepared."""
    return examples(server_of(request).runs.find(query.run))


@router.get("/v1/examples/audio")
def example_audio(request: Request, id: str, run: str | None = None) -> Response:
    """The sound of an example as WAV."""
    recording = example_recording(server_of(request).runs.find(run), id)
    return Response(wav_bytes(recording), media_type="audio/wav")


@router.post("/v1/recordings", response_model=KeptDocument, responses=REFUSALS)
async def keep(request: Request) -> KeptDocument:
    """Keeps a recording, so that a link brings it back; only with `serve --keep DIR`."""
    server = server_of(request)
    folder = _kept_recordings(server)
    async with recording_of(request, PLAYED_RATE) as recording:
        content = await in_thread(server, wav_bytes, recording)
    id = hashlib.sha256(content).hexdigest()[:32]
    write_bytes(folder / f"{id}.wav", content)
    return KeptDocument(id=id)


@router.get("/v1/recordings/{id}")
def kept(request: Request, id: str) -> Response:
    """A recording that was kept."""
    file = _kept_recordings(server_of(request)) / f"{id}.wav"
    if not _ID.fullmatch(id) or not file.is_file():
        raise HTTPException(404, "there is no recording of this identifier")
    return FileResponse(file, media_type="audio/wav")


def _kept_recordings(server: Server) -> Path:
    if server.settings.keep is None:
        raise InputError("this server was started without a folder to keep things in")
    folder = server.settings.keep / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class WeightsInput(Document):
    """Mean weights of a voice."""

    weights: list[Annotated[float, Field(ge=0)]] = Field(min_length=1, max_length=4096)


@router.post("/v1/speakers", response_model=SpeakersDocument, responses=REFUSALS)
def speakers(
    request: Request, query: Annotated[RunQuery, Query()], body: Annotated[Any, Body()]
) -> SpeakersDocument:
    """Where a voice lies among the speakers of the run's routing report, by its mean weights."""
    served = server_of(request).runs.find(query.run)
    weights = WeightsInput.parse(body, "weights").weights
    if not sum(weights) > 0:
        raise InputError("weights: found only zeros")
    page = _report_page(server_of(request), served)
    if page is None:
        raise InputError(f"{served.name} has no routing report yet")
    report = RoutingDocument.read(page.with_name("routing.json"))
    return place_among_speakers(weights, served.spec.experts, report)


@router.get("/report/{run}")
def report_page(request: Request, run: str) -> Response:
    """The run's routing report; its own policy allows its own scripts only, by hash."""
    server = server_of(request)
    page = _report_page(server, server.runs.find(run))
    if page is None:
        raise HTTPException(404, f"{run} has no routing report yet")
    # The page stands in a frame of ours and nowhere else.
    headers = {"content-security-policy": "frame-ancestors 'self'"}
    return FileResponse(page, media_type="text/html", headers=headers)


@router.post("/v1/report", response_model=JobDocument, responses=REFUSALS)
def make_report(request: Request, query: Annotated[RunQuery, Query()]) -> JobDocument:
    """Makes the routing report of a run, for as long as the server runs."""
    server = server_of(request)
    served = server.runs.find(query.run)

    def work(job: Job) -> None:
        def progress(stage: str) -> None:
            job.stage = stage

        report_run(served.run, "test", _temporary_report(server, served), progress=progress)

    return server.jobs.start("report", work).document()


def _temporary_report(server: Server, served: ServedRun) -> Path:
    return server.temporary / "reports" / served.name


def _report_page(server: Server, served: ServedRun) -> Path | None:
    made = _temporary_report(server, served) / "report.html"
    return made if made.is_file() else served.report_page


@router.get("/v1/jobs/{id}", response_model=JobDocument)
def job(request: Request, id: str) -> JobDocument:
    """The state of a job."""
    return server_of(request).jobs.find(id).document()


class LabelledQuery(RunQuery):
    """Whose corrected utterances they are."""

    speaker: str = "me"
    """Letters, digits, - and _."""


class SavingQuery(LabelledQuery):
    """Where corrected utterances go."""

    to: Literal["zip", "folder"] = "zip"
    """An archive in the answer, or a folder of `serve --keep`."""


class AdaptationQuery(LabelledQuery):
    """How a run is adapted."""

    method: Literal["gate", "expert"] = "gate"
    """Train the gate only, or add an expert first."""


@router.post("/v1/labelled", responses=REFUSALS)
async def labelled(request: Request, query: Annotated[SavingQuery, Query()]) -> Response:
    """Corrected utterances as labelled speech for `adapt`: a ZIP archive, or a folder of --keep.

    A form with recordings in `file` and for each, in the same order, JSON in `labels`: segments
    with phoneme, start and end.
    """
    server = server_of(request)
    served = server.runs.find(query.run)
    speaker = speaker_name(query.speaker)
    utterances = await _labelled(request, served)
    if query.to == "zip":
        content = await in_thread(server, zip_labelled, utterances, speaker)
        headers = {"content-disposition": f'attachment; filename="{speaker}.zip"'}
        return Response(content, media_type="application/zip", headers=headers)
    if server.settings.keep is None:
        raise InputError("this server was started without a folder to keep things in")
    folder = server.settings.keep / "labelled" / speaker
    await in_thread(server, write_labelled, utterances, folder)
    return _json(SavedDocument(folder=str(folder), utterances=len(utterances)))


@router.post("/v1/format/{format}", responses=REFUSALS)
async def format_labelled(
    request: Request, format: str, query: Annotated[RunQuery, Query()]
) -> Response:
    """A corrected utterance in an output format; a form as for /v1/labelled, of one utterance."""
    server = server_of(request)
    served = server.runs.find(query.run)
    if format not in FORMATS:
        raise HTTPException(404, f"there is no format {format[:40]!r}")
    utterances = await _labelled(request, served)
    if len(utterances) != 1:
        raise InputError(f"file: found {len(utterances)} recordings, expected one")
    transcript = as_transcript(utterances[0], served.spec.source, served.spec.recipe)
    chosen = FORMATS[format]
    name = f"{Path(plain_name(utterances[0].recording.name)).stem}{chosen.suffix}"
    quoted = name.encode("ascii", "replace").decode().replace('"', "_").replace("?", "_")
    headers = {"content-disposition": f'attachment; filename="{quoted}"'}
    text = chosen.header + chosen.body(transcript)
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@router.post("/v1/adapt", response_model=JobDocument, responses=REFUSALS)
async def start_adaptation(
    request: Request, query: Annotated[AdaptationQuery, Query()]
) -> JobDocument:
    """Adapts a run to the speaker of corrected utterances; a form as for /v1/labelled.

    The new run is served under a name of its own as soon as the job is done.
    """
    server = server_of(request)
    served = server.runs.find(query.run)
    if not served.adapts:
        raise InputError(f"{served.name}: has no gate that can be trained")
    speaker = speaker_name(query.speaker)
    utterances = await _labelled(request, served)

    def work(job: Job) -> AdaptationResult:
        job.stage = "saving recordings"
        folder = server.temporary / job.id
        write_labelled(utterances, folder / speaker)
        job.stage = f"adapting to {speaker}"
        keep = server.settings.keep
        out = unused(folder if keep is None else keep / "runs", f"{served.name}_{speaker}")
        result = adapt(served.run, speaker, folder / speaker, out, query.method)
        adapted = server.runs.add(result.run)
        return AdaptationResult(
            run=adapted.name,
            speaker=speaker,
            learned=result.learned,
            held_out=result.held_out,
            before=result.before,
            after=result.after,
            interval=list(result.interval),
            old_before=result.old_before,
            old_after=result.old_after,
            folder=None if keep is None else str(out),
        )

    return server.jobs.start("adapt", work).document()


def unused(folder: Path, name: str) -> Path:
    """A path in a folder that nothing has yet: the name, with a number if that is taken."""
    numbered = (folder / f"{name}-{number}" for number in itertools.count(2))
    return next(p for p in itertools.chain([folder / name], numbered) if not p.exists())


async def _labelled(request: Request, served: ServedRun) -> list[LabelledUtterance]:
    """The utterances of a form with recordings and their labels."""
    server = server_of(request)
    if not _is_form(request):
        raise InputError("request: expected a form with file and labels")
    form: FormData = await request.form(max_files=MAX_UTTERANCES, max_fields=MAX_UTTERANCES)
    files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
    labels = form.getlist("labels")
    if not files or len(files) != len(labels):
        raise InputError(
            f"labels: found {len(labels)} for {len(files)} recordings, expected one for each"
        )
    utterances = []
    for file, text in zip(files, labels, strict=True):
        name = plain_name(file.filename)
        given = UtteranceInput.parse_json(str(text), f"labels of {name}")
        served.spec.phonemes.encode([segment.phoneme for segment in given.segments])
        recording = await in_thread(
            server,
            decode_upload,
            await file.read(),
            name,
            rate_of(served),
            server.settings.limits.audio_seconds,
        )
        utterances.append(LabelledUtterance.of(recording, given))
    return utterances


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("multipart/form-data")


def _json(document: Document) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")
