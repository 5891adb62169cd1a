"""Transcription of audio files: phonemes with times, confidence and routing.

    files --reader threads--> recordings --batches by length--> model outputs --> transcripts

Reading files and computing features overlap with the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.decoding.symbols import symbol_map
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.system.cores import usable_cores
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelOutput, ModelSpec
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.recording import Recording, read_recording, source_path
from phoneme_moe.transcription.segment_times import build_transcript
from phoneme_moe.transcription.single_token import transcribe_token
from phoneme_moe.transcription.transcript import Transcript, with_symbols
from phoneme_moe.transcription.windowing import BATCH_FRAMES, infer

if TYPE_CHECKING:
    from phoneme_moe.data.embeddings import Embeddings

MAX_LENGTH_RATIO = 1.25
"""Largest ratio of the longest recording of a batch to its shortest; limits padding."""

FEW_FILES = 4
"""Up to this number of files, no cores are reserved for reading."""

CERTAINLY_NOT = -100.0
"""Log posterior of a phoneme where there is no sound."""

READ_AHEAD = 128
"""Number of recordings that are read ahead."""


@dataclass(frozen=True)
class Options:
    """How recordings are transcribed.

    Attributes:
        beam: Beam width, 0 for greedy decoding; by default the run's own setting.
        nbest: Number of hypotheses in ``Transcript.alternatives``; more than one needs a beam.
        symbols: ``arpabet``, ``ipa``, ``xsampa`` or the file of a table of symbols; by default the
            run's own notation.
        fold: Smaller phoneme set to map onto (``decoding.symbols``).
        channel: Channel to use, from 1; by default the mean of all channels.
        embeddings: A safetensors file with an embedding for each recording, named by its file name
            without suffix, for runs whose routers take one.
    """

    beam: int | None = None
    nbest: int = 1
    symbols: str | Path | None = None
    fold: str | None = None
    channel: int | None = None
    embeddings: str | Path | None = None


@dataclass(frozen=True)
class Failure:
    """A recording that could not be transcribed.

    Attributes:
        path: The file.
        error: The reason, in one line that names the file.
    """

    path: Path
    error: InputError


ReadResult = Recording | Transcript | Failure
"""Result of reading a file; a single token is transcribed at once."""


def transcribe_files(
    engine: Engine,
    files: Iterable[Path | Samples],
    options: Options | None = None,
    num_cores: int | None = None,
    first_group: int = 1,
) -> Iterator[Transcript | Failure]:
    """Transcribes recordings and yields the results in the order given, as soon as possible.

    Args:
        engine: Inference engine of the model.
        files: Audio files of any sample rate and length, ``-`` for standard input; or samples in
            memory.
        options: Options of decoding and notation.
        num_cores: Processor cores for decoding of audio and recognition together; by default all
            usable ones.
        first_group: Recordings that are recognised together at first; then twice as many, and so
            on, so that first results appear soon.

    Raises:
        InputError: The options do not fit the model; an unusable file gives a ``Failure``.
    """
    options = options or Options()
    spec = engine.spec
    if options.nbest > 1 and spec.decoding.beam_for(options.beam) is None:
        raise ArgumentError(
            "nbest", f"found {options.nbest} with greedy decoding; expected a beam search"
        )
    names = symbol_map(spec.phonemes.symbols, options.symbols, options.fold)
    symbols = None if options.symbols is None else str(options.symbols)
    embeddings = _open_embeddings(spec, options)
    front_end = spec.front_end()

    def read(audio: Path | Samples) -> ReadResult:
        path = source_path(audio)
        try:
            if spec.tokens:
                return transcribe_token(engine, audio, options.channel)
            return read_recording(audio, front_end, options.channel)
        except InputError as error:
            return Failure(path, error)
        except OSError as error:
            return Failure(path, InputError(f"{path}: {error.strerror or error}"))

    # Reading compressed audio takes about as long as the network: each gets half of the cores.
    cores = num_cores or usable_cores().number
    many_files = not isinstance(files, Sequence) or len(files) > FEW_FILES
    with (
        ThreadPoolExecutor(cores) as readers,
        engine.leave_cores(cores // 2 if many_files else 0),
        # NumPy's matrix products here are small; more threads would only spin.
        threadpool_limits(1, "blas"),
    ):
        for group in _read_in_groups(readers, read, files, first_group):
            for result in _transcribe_group(engine, group, options, embeddings):
                if isinstance(result, Transcript):
                    yield with_symbols(result, names, fold=options.fold, symbols=symbols)
                else:
                    yield result


def _read_in_groups(
    readers: ThreadPoolExecutor,
    read: Callable[[Path | Samples], ReadResult],
    files: Iterable[Path | Samples],
    size: int,
) -> Iterator[list[ReadResult]]:
    """Groups of so many recordings, twice as many, and so on."""
    waiting: deque[Future[ReadResult]] = deque()
    coming = iter(files)
    group: list[ReadResult] = []
    while True:
        while len(waiting) < READ_AHEAD and (path := next(coming, None)) is not None:
            waiting.append(readers.submit(read, path))
        if not waiting:
            break
        group.append(waiting.popleft().result())
        if len(group) == size:
            yield group
            group, size = [], min(2 * size, READ_AHEAD)
    if group:
        yield group


def _transcribe_group(
    engine: Engine,
    group: Sequence[ReadResult],
    options: Options,
    embeddings: Embeddings | None,
) -> list[Transcript | Failure]:
    results: dict[int, Transcript | Failure] = {}
    usable: list[tuple[int, Recording]] = []
    vectors: dict[int, Floats] = {}
    for index, item in enumerate(group):
        if not isinstance(item, Recording):
            results[index] = item
            continue
        try:
            if embeddings is not None:
                vectors[index] = embeddings.lookup([item.path.stem]).numpy()
            usable.append((index, item))
        except InputError as error:
            results[index] = Failure(item.path, error)
    usable.sort(key=lambda entry: entry[1].num_frames)
    for batch in _batches(usable):
        indices = [index for index, _ in batch]
        stacked = np.stack([vectors[index] for index in indices]) if vectors else None
        recordings = [recording for _, recording in batch]
        transcripts = transcribe_recordings(engine, recordings, options, stacked)
        results.update(zip(indices, transcripts, strict=True))
    return [results[index] for index in range(len(group))]


def transcribe_recordings(
    engine: Engine,
    recordings: Sequence[Recording],
    options: Options,
    embeddings: Floats | None = None,
) -> list[Transcript]:
    """The transcripts of ``recognize_recordings``."""
    return [t for t, _ in recognize_recordings(engine, recordings, options, embeddings)]


def recognize_recordings(
    engine: Engine,
    recordings: Sequence[Recording],
    options: Options,
    embeddings: Floats | None = None,
) -> list[tuple[Transcript, ModelOutput]]:
    """Recognises recordings in a batch, or a single one of any length, in the run's own symbols.

    Args:
        engine: Inference engine of the model.
        recordings: Recordings, at least one.
        options: Options of decoding.
        embeddings: Embedding of each recording, shape (recordings, size), if the model takes one.

    Returns:
        The transcript of each recording, with the output of the model.
    """
    num_shifts = engine.spec.decoding.shifts_for(options.beam)
    model_outputs = [
        _without_phonemes(model_output) if recording.is_silent else model_output
        for recording, model_output in zip(
            recordings, infer(engine, recordings, embeddings, num_shifts), strict=True
        )
    ]
    hypotheses = decode(model_outputs, engine.spec, options.beam, options.nbest)
    return [
        (build_transcript(recording, model_output, hypothesis, engine.spec), model_output)
        for recording, model_output, hypothesis in zip(
            recordings, model_outputs, hypotheses, strict=True
        )
    ]


def _without_phonemes(model_output: ModelOutput) -> ModelOutput:
    """The output for a recording without sound, of which the model knows nothing: only blanks."""

    def blanks(log_posteriors: Floats) -> Floats:
        certain = np.full_like(log_posteriors, CERTAINLY_NOT)
        certain[..., BLANK] = 0.0
        return certain

    return replace(
        model_output,
        log_posteriors=blanks(model_output.log_posteriors),
        shifted=tuple(map(blanks, model_output.shifted)),
    )


def _batches(
    recordings: Sequence[tuple[int, Recording]],
) -> Iterator[list[tuple[int, Recording]]]:
    """Batches of recordings in order of length, filled up to the limit of frames."""
    batch: list[tuple[int, Recording]] = []
    for item in recordings:
        frames = item[1].num_frames
        is_full = (len(batch) + 1) * frames > BATCH_FRAMES
        if batch and (is_full or frames > MAX_LENGTH_RATIO * batch[0][1].num_frames):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _open_embeddings(spec: ModelSpec, options: Options) -> Embeddings | None:
    if spec.embedding_size is None:
        return None
    if options.embeddings is None:
        raise ArgumentError(
            "embeddings",
            f"found none; the routers of {spec.source} take an embedding of "
            f"{spec.embedding_size} numbers for each recording; expected a safetensors file",
        )
    from phoneme_moe.data.embeddings import Embeddings  # imports torch

    return Embeddings(options.embeddings, spec.embedding_size)


def transcribe_file(
    engine: Engine, path: str | Path | Samples, options: Options | None = None
) -> Transcript:
    """Transcribes one recording: a file, or samples in memory.

    Raises:
        InputError: The file is not usable audio, or the options do not fit the model.
    """
    (result,) = transcribe_files(
        engine, [path if isinstance(path, Samples) else Path(path)], options
    )
    if isinstance(result, Failure):
        raise result.error
    return result
