"""``phoneme-moe listen``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.features.audio import Waveform


class SampleFormat(StrEnum):
    """How samples on standard input are written."""

    S16LE = "s16le"
    F32LE = "f32le"


class LiveFormat(StrEnum):
    """How phonemes are printed."""

    TXT = "txt"
    JSONL = "jsonl"


def listen(
    run: Annotated[Path, typer.Argument(help="A run folder, or a model exported as .onnx.")],
    source: Annotated[
        str | None, typer.Argument(help="- for raw samples on stdin; else the microphone.")
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1000, help="Samples per second on stdin; the model's.")
    ] = None,
    sample_format: Annotated[
        SampleFormat, typer.Option(help="Of stdin, one channel.")
    ] = SampleFormat.S16LE,
    look_ahead: Annotated[
        float, typer.Option(min=0, max=5, help="Seconds that are heard first.")
    ] = 0.44,
    step: Annotated[float, typer.Option(min=0.01, max=5, help="Seconds at a time.")] = 0.08,
    format: Annotated[LiveFormat, typer.Option(help="A line a phoneme.")] = LiveFormat.TXT,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
) -> None:
    """Recognise while somebody speaks: phonemes and the leading expert as they come.

    A phoneme comes out at most --step and --look-ahead after it is recognised, and the time that
    a step takes to compute, which is said at the end. Ctrl-C ends.
    """
    if source not in {None, "-"}:
        raise InputError(f"listen: found {source!r}, expected - or nothing; transcribe reads files")
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.transcription.live import LivePhoneme, LiveRecognizer, LiveSettings

    engine = open_engine(run, device)
    listener = LiveRecognizer(engine, LiveSettings(step, look_ahead))
    wanted = listener.front_end.sample_rate
    if engine.spec.decoding.beam is not None:
        said = "is read by beam search elsewhere, but live by the best path"
        print(f"listen: {run} {said}: expect more errors", file=sys.stderr)

    def show(found: list[LivePhoneme]) -> None:
        for one in found:
            if format == "jsonl":
                data = {
                    "phoneme": one.phoneme,
                    "time": round(one.time, 3),
                    "confidence": round(one.confidence, 4),
                    "expert": one.expert,
                    "latency": round(one.latency, 3),
                }
                print(json.dumps(data, ensure_ascii=False), flush=True)
            else:
                line = f"{one.time:8.2f}  {one.phoneme:<6} {one.confidence:4.2f}  {one.expert}"
                print(line.rstrip(), flush=True)

    pieces = _microphone(wanted) if source is None else _standard_input(sample_format, rate, wanted)
    try:
        for piece in pieces:
            show(listener.feed(piece))
    except KeyboardInterrupt:
        pass
    show(listener.finish())
    print(f"a step took {1000 * listener.slowest_step:.0f} ms at most", file=sys.stderr)


def _standard_input(form: SampleFormat, rate: int | None, wanted: int) -> Iterator[Waveform]:
    """Samples as they arrive, at the model's rate."""
    import numpy as np
    import soxr

    dtype, full = (np.dtype("<i2"), 32768.0) if form == "s16le" else (np.dtype("<f4"), 1.0)
    convert = None
    if rate is not None and rate != wanted:
        convert = soxr.ResampleStream(rate, wanted, 1, "float32", quality="HQ")
    rest = b""
    while True:
        read = os.read(sys.stdin.fileno(), 1 << 15)  # what there is, without waiting for more
        usable = len(rest + read) // dtype.itemsize * dtype.itemsize
        raw, rest = (rest + read)[:usable], (rest + read)[usable:]
        samples = np.frombuffer(raw, dtype).astype(np.float32) / np.float32(full)
        if not np.isfinite(samples).all():
            raise InputError("stdin: samples are NaN or infinite; is it --sample-format f32le?")
        if convert is not None:
            samples = convert.resample_chunk(samples, last=not read)
        yield samples
        if not read:
            if rest:
                raise InputError(f"stdin: ends within a sample of {form.value}")
            return


def _microphone(rate: int) -> Iterator[Waveform]:
    import numpy as np

    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise InputError(
            "listen: the microphone needs the extra mic: pip install 'phoneme-moe[mic]' (and the "
            "system's PortAudio); raw samples on stdin need neither: phoneme-moe listen RUN -"
        ) from error
    try:
        with sounddevice.InputStream(rate, channels=1, dtype="float32") as stream:
            while True:
                samples, _ = stream.read(rate // 50)
                yield np.asarray(samples[:, 0])
    except sounddevice.PortAudioError as error:
        raise InputError(f"listen: no microphone that can be used: {error}") from error
