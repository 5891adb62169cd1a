"""Audio files to phonemes with times, confidence and the experts that were asked.

    files --readers (threads)--> recordings --batches of like length--> posteriors --> transcripts

Reading and features overlap with the network.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from phoneme_moe.decoding.symbols import symbol_map
from phoneme_moe.errors import InputError
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelSpec
from phoneme_moe.transcription.pieces import build_transcript, decode, renamed
from phoneme_moe.transcription.recording import Recording, read_recording
from phoneme_moe.transcription.single_token import transcribe_token
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.windowing import BATCH_FRAMES, infer

if TYPE_CHECKING:
    from phoneme_moe.data.embeddings import Embeddings

MOST_PADDING = 1.25
"""The longest recording of a batch is at most so many times the shortest."""

FEW = 4
"""So few files leave no cores to readers."""

AHEAD = 128
"""Recordings that are read before they are needed."""


@dataclass(frozen=True)
class Options:
    """How recordings are transcribed.

    Attributes:
        beam: Readings that a beam search keeps, 0 for the best path; as the run does when left out.
        nbest: Readings to tell; more than one needs a beam.
        symbols: ``arpabet`` or ``ipa``; as the run has them when left out.
        fold: Phoneme set to fold onto (``decoding.symbols``).
        channel: Which channel, from 1; the mean of all when left out.
        embeddings: A safetensors file with a vector for each recording, by its name without ending,
            for runs whose routers see one.
    """

    beam: int | None = None
    nbest: int = 1
    symbols: str | None = None
    fold: str | None = None
    channel: int | None = None
    embeddings: str | Path | None = None


@dataclass(frozen=True)
class Failure:
    """A recording that cannot be used.

    Attributes:
        path: The file.
        error: Why, in one line that names it.
    """

    path: Path
    error: InputError


Read = Recording | Transcript | Failure
"""What a reader makes of a file; a token is transcribed at once."""


def transcribe_files(
    engine: Engine, files: Iterable[Path], options: Options | None = None
) -> Iterator[Transcript | Failure]:
    """Transcribes recordings, in the order given, each as soon as it and those before are done.

    Args:
        engine: The model.
        files: Audio files of any rate and length; ``-`` for standard input.
        options: How.

    Raises:
        InputError: The options do not fit the model; a single file never raises.
    """
    options = options or Options()
    spec = engine.spec
    if options.nbest > 1 and spec.decoding.beam_for(options.beam) is None:
        raise InputError(f"--nbest: found {options.nbest} without --beam; expected --beam N too")
    names = symbol_map(spec.phonemes.symbols, options.symbols, options.fold)
    vectors = _embeddings(spec, options)
    front_end = spec.front_end()

    def read(path: Path) -> Read:
        try:
            if spec.tokens:
                return transcribe_token(engine, path, options.channel)
            return read_recording(path, front_end, options.channel)
        except InputError as error:
            return Failure(path, error)
        except OSError as error:
            return Failure(path, InputError(f"{path}: {error.strerror or error}"))

    # Reading compressed audio takes about as long as a network: half of the cores each.
    cores = os.cpu_count() or 1
    several_files = not isinstance(files, Sequence) or len(files) > FEW
    spared = cores // 2 if several_files else 0
    with (
        ThreadPoolExecutor(cores) as readers,
        engine.leave_cores(spared),
        # NumPy's products of features are small; threads of theirs would only wait, spinning.
        threadpool_limits(1, "blas"),
    ):
        for several in _in_groups(readers, read, files):
            for found in _transcribe_group(engine, several, options, vectors):
                if isinstance(found, Transcript):
                    found = renamed(found, names, fold=options.fold, symbols=options.symbols)
                yield found


def _in_groups(
    readers: ThreadPoolExecutor, read: Callable[[Path], Read], files: Iterable[Path]
) -> Iterator[list[Read]]:
    """Recordings in order: one, then two, then four ... so that results begin soon."""
    waiting: deque[Future[Read]] = deque()
    coming = iter(files)
    size = 1
    group: list[Read] = []
    while True:
        while len(waiting) < AHEAD and (path := next(coming, None)) is not None:
            waiting.append(readers.submit(read, path))
        if not waiting:
            break
        group.append(waiting.popleft().result())
        if len(group) == size:
            yield group
            group, size = [], min(2 * size, AHEAD)
    if group:
        yield group


def _transcribe_group(
    engine: Engine,
    several: Sequence[Read],
    options: Options,
    vectors: Embeddings | None,
) -> list[Transcript | Failure]:
    recordings = [(i, r) for i, r in enumerate(several) if isinstance(r, Recording)]
    done: list[Transcript | Failure] = [
        r if not isinstance(r, Recording) else Failure(r.path, InputError("")) for r in several
    ]
    recordings.sort(key=lambda item: item[1].num_frames)
    for batch in _batches(recordings):
        usable = []
        embeddings: list[Floats] = []
        for index, recording in batch:
            try:
                if vectors is not None:
                    embeddings.append(vectors.lookup([recording.path.stem]).numpy())
                usable.append((index, recording))
            except InputError as error:
                done[index] = Failure(recording.path, error)
        if not usable:
            continue
        own = [recording for _, recording in usable]
        transcripts = transcribe_recordings(
            engine, own, options, np.stack(embeddings) if embeddings else None
        )
        for (index, _), transcript in zip(usable, transcripts, strict=True):
            done[index] = transcript
    return done


def transcribe_recordings(
    engine: Engine,
    recordings: Sequence[Recording],
    options: Options,
    embeddings: Floats | None = None,
) -> list[Transcript]:
    """Transcribes recordings in a batch, or a single one of any length, in the run's own symbols.

    Args:
        engine: The model.
        recordings: At least one.
        options: How.
        embeddings: A vector of each, shape (recordings, size), where the model needs one.
    """
    num_shifts = engine.spec.decoding.shifts_for(options.beam)
    heard = infer(engine, recordings, embeddings, num_shifts)
    readings = decode(heard, engine.spec, options.beam, options.nbest)
    return [
        build_transcript(recording, said, reading, engine.spec)
        for recording, said, reading in zip(recordings, heard, readings, strict=True)
    ]


def _batches(
    recordings: Sequence[tuple[int, Recording]],
) -> Iterator[list[tuple[int, Recording]]]:
    """Recordings of rising length, as many together as a batch may have frames."""
    batch: list[tuple[int, Recording]] = []
    for item in recordings:
        frames = item[1].num_frames
        full = (len(batch) + 1) * frames > BATCH_FRAMES
        if batch and (full or frames > MOST_PADDING * batch[0][1].num_frames):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _embeddings(spec: ModelSpec, options: Options) -> Embeddings | None:
    if spec.embedding_size is None:
        return None
    if options.embeddings is None:
        raise InputError(
            f"{spec.source}: its routers see an embedding of {spec.embedding_size} numbers for "
            "each recording; expected --embeddings FILE"
        )
    from phoneme_moe.data.embeddings import Embeddings  # imports torch

    return Embeddings(options.embeddings, spec.embedding_size)


def transcribe_file(engine: Engine, path: str | Path, options: Options | None = None) -> Transcript:
    """Transcribes one recording.

    Raises:
        InputError: The file is not audio that can be used, or the options do not fit the model.
    """
    (found,) = transcribe_files(engine, [Path(path)], options)
    if isinstance(found, Failure):
        raise found.error
    return found
