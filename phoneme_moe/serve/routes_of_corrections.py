"""Corrected utterances: saved as labelled speech, in output formats, and taught to a run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from phoneme_moe.errors import InputError
from phoneme_moe.serve.documents import AdaptationResult, JobDocument, SavedDocument
from phoneme_moe.serve.jobs import Job
from phoneme_moe.serve.labelled_speech import (
    LabelledUtterance,
    UtteranceInput,
    as_transcript,
    speaker_name,
    write_labelled,
    zip_labelled,
)
from phoneme_moe.serve.requests import (
    RunQuery,
    in_thread,
    is_form,
    json_response,
    rate_of,
    server_of,
)
from phoneme_moe.serve.routes import REFUSALS
from phoneme_moe.serve.served_runs import ServedRun
from phoneme_moe.serve.uploads import decode_upload, plain_name
from phoneme_moe.training.adapt import adapt
from phoneme_moe.transcription.formats import FORMATS

MAX_UTTERANCES = 500
"""Most corrected utterances of a request."""

router = APIRouter()


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
    return json_response(SavedDocument(folder=str(folder), utterances=len(utterances)))


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
    if not is_form(request):
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
