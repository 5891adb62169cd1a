"""``phoneme-moe listen``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, cast

import typer

from phoneme_moe.cli.options import Device, RunOrOnnx
from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import json_text
from phoneme_moe.system.extras import install_command
from phoneme_moe.system.terminal import print_error, print_line

if TYPE_CHECKING:
    from phoneme_moe.audio.sample_stream import SampleFormat as RawFormat
    from phoneme_moe.audio.waveform import Waveform
    from phoneme_moe.transcription.live import LivePhoneme


class SampleFormat(StrEnum):
    """Sample formats of standard input."""

    S16LE = "s16le"
    F32LE = "f32le"


class LiveFormat(StrEnum):
    """Output formats."""

    TXT = "txt"
    JSONL = "jsonl"


def listen(
    run: RunOrOnnx,
    source: Annotated[
        str | None,
        typer.Argument(help="- for raw samples or WAV on stdin.", show_default="the microphone"),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Sample rate of stdin.",
            show_default="that of a WAV; raw samples need it",
        ),
    ] = None,
    sample_format: Annotated[
        SampleFormat | None,
        typer.Option(help="Sample format of stdin.", show_default="that of a WAV, or s16le"),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Number of channels of stdin, interleaved.",
            show_default="that of a WAV, or 1",
        ),
    ] = None,
    look_ahead: Annotated[
        float, typer.Option(min=0, max=5, help="Seconds of sound to wait for after each step.")
    ] = 0.44,
    step: Annotated[
        float, typer.Option(min=0.01, max=5, help="Seconds recognised at a time.")
    ] = 0.08,
    format: Annotated[
        LiveFormat, typer.Option(help="Output format, one line per phoneme.")
    ] = LiveFormat.TXT,
    device: Device = "auto",
) -> None:
    """Recognise live speech: print phonemes and their leading experts as they are spoken.

    The latency of a phoneme is at most --step plus --look-ahead plus the time
    that a step takes, which is printed at the end. Press Ctrl-C to stop.
    """
    if source not in {None, "-"}:
        raise InputError(
            f"listen: found {source!r}, expected - or nothing; use transcribe for files"
        )
    from phoneme_moe.cli.transcribe import open_engine
    from phoneme_moe.transcription.live import LiveRecognizer, LiveSettings

    engine = open_engine(run, device)
    recognizer = LiveRecognizer(engine, LiveSettings(step, look_ahead))
    model_rate = recognizer.front_end.sample_rate
    if engine.spec.decoding.beam is not None:
        print_error(
            f"listen: decodes greedily, where {run} uses a beam search elsewhere: expect more "
            "errors"
        )

    def show(phonemes: list[LivePhoneme]) -> None:
        for phoneme in phonemes:
            print_line(_line(phoneme, format))

    pieces = (
        _microphone(model_rate)
        if source is None
        else _standard_input(sample_format, channels, rate, model_rate)
    )
    with _ctrl_c_stops():
        for piece in pieces:
            show(recognizer.feed(piece))
    show(recognizer.finish())
    print_error(f"a step took {1000 * recognizer.slowest_step:.0f} ms at most")


@contextmanager
def _ctrl_c_stops() -> Iterator[None]:
    """Leaves the block at Ctrl-C, which here is no interruption."""
    former = signal.getsignal(signal.SIGINT)
    if former is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, former)


def _line(live: LivePhoneme, format: LiveFormat) -> str:
    if format == "txt":
        line = f"{live.time:8.2f}  {live.phoneme:<6} {live.confidence:4.2f}  {live.expert}"
        return line.rstrip()
    data = {
        "phoneme": live.phoneme,
        "time": round(live.time, 3),
        "confidence": round(live.confidence, 4),
        "expert": live.expert,
        "latency": round(live.latency, 3),
    }
    return json_text(data)


def _standard_input(
    sample_format: SampleFormat | None,
    channels: int | None,
    rate: int | None,
    model_rate: int,
) -> Iterator[Waveform]:
    """Samples as they arrive, mixed and resampled to the model's rate."""
    import numpy as np
    import soxr

    from phoneme_moe.audio.mixing import Mixer, OffsetRemoval
    from phoneme_moe.audio.sample_stream import read_format

    def read() -> bytes:
        return os.read(sys.stdin.fileno(), 1 << 15)  # what is available, without waiting for more

    given = None if sample_format is None else sample_format.value
    found, first = read_format(read, rate, cast("RawFormat | None", given), channels)
    dtype, full_scale = (
        (np.dtype("<i2"), 32768.0) if found.samples == "s16le" else (np.dtype("<f4"), 1.0)
    )
    channels = found.channels
    resampler = None
    if found.rate not in {0, model_rate}:
        resampler = soxr.ResampleStream(found.rate, model_rate, 1, "float32", quality="HQ")
    mix, remove_offset = Mixer(channels), OffsetRemoval()
    told = False
    size = dtype.itemsize * channels
    rest = b""
    # Without waiting for more than has come; an empty piece ends the resampling.
    for data in chain([first] if first else [], iter(read, b""), [b""]):
        usable = len(rest + data) // size * size
        raw, rest = (rest + data)[:usable], (rest + data)[usable:]
        samples = np.frombuffer(raw, dtype).astype(np.float32) / np.float32(full_scale)
        if not np.isfinite(samples).all():
            raise InputError("stdin: samples are NaN or infinite; is it --sample-format f32le?")
        samples = remove_offset(mix(samples.reshape(-1, channels)))
        if mix.note and not told:
            told = True
            print_error(f"phoneme-moe: stdin: {mix.note}")
        if resampler is not None:
            samples = resampler.resample_chunk(samples, last=not data)
        yield samples
    if rest:
        raise InputError(f"stdin: ends within a sample of {found.samples}")


def _microphone(rate: int) -> Iterator[Waveform]:
    import numpy as np

    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise InputError(
            f"listen: the microphone needs sounddevice: {install_command('mic')} (and the system's "
            "PortAudio); WAV on stdin needs neither: phoneme-moe listen RUN -"
        ) from error
    try:
        with sounddevice.InputStream(rate, channels=1, dtype="float32") as stream:
            while True:
                samples, _ = stream.read(rate // 50)
                yield np.asarray(samples[:, 0])
    except sounddevice.PortAudioError as error:
        raise InputError(f"listen: no usable microphone: {error}") from error
