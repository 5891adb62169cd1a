"""What the page needs beyond the public interface; programs may use it, too."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from phoneme_moe.errors import InputError
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_bytes
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.run import report_run
from phoneme_moe.serve.documents import (
    ExamplesDocument,
    InspectionDocument,
    JobDocument,
    KeptDocument,
    SpeakersDocument,
)
from phoneme_moe.serve.examples import example_recording, examples
from phoneme_moe.serve.inspection import View, inspect_recording
from phoneme_moe.serve.jobs import Job
from phoneme_moe.serve.labelled_speech import (
    wav_bytes,
)
from phoneme_moe.serve.nearest_speakers import place_among_speakers
from phoneme_moe.serve.requests import (
    RunQuery,
    in_thread,
    is_form,
    json_response,
    rate_of,
    recording_of,
    server_of,
    while_connected,
)
from phoneme_moe.serve.routes import REFUSALS
from phoneme_moe.serve.served_runs import LayerChange, ServedRun
from phoneme_moe.serve.server import Server

PLAYED_RATE = 16_000
"""Samples per second of recordings that a browser cannot decode itself."""

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
        text = (await request.form()).get("view", "{}") if is_form(request) else "{}"
        view = ViewInput.parse_json(str(text), "view").view()
        work = in_thread(server, inspect_recording, served, recording, view, server.lexicon)
        document = await while_connected(request, work)
    return json_response(document)


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
