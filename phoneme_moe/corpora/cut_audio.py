"""Audio of a Lhotse cut, read as any other audio file: the same in training as in recognition.

Lhotse's loader would also run commands and fetch addresses; this one reads files and memory.
"""

from __future__ import annotations

import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.audio.waveform import Waveform, load_segment
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from lhotse.cut import Cut


SETTLED_SECONDS = 2.0
"""Age of a file's last change from which another change has another time: some file systems keep
times in steps of two seconds."""


def load_cut(cut: Cut, sample_rate: int) -> Waveform:
    """Reads the audio of a cut.

    A recording that lists one channel is mono: if its file has several, they are mixed.

    Args:
        cut: A cut of a recording in a file or in memory, without transforms.
        sample_rate: Samples per second to convert to.

    Returns:
        Waveform of shape (samples,).

    Raises:
        InputError: The recording is not usable audio, or not what the manifest describes.
    """
    return load_segment(
        _source(cut).source,
        sample_rate,
        name=f"utterance {cut.id}",
        **asdict(_segment(cut)),
    )


def cut_origin(cut: Cut, sample_rate: int) -> tuple[str | int | None, ...] | None:
    """All that the result of ``load_cut`` depends on; of the file its size, times and number.

    Args:
        cut: As in ``load_cut``.
        sample_rate: As in ``load_cut``.

    Returns:
        Different after any change of the file; None for audio in memory, and for a file that is
        missing or was changed just now.

    Raises:
        InputError: The recording has no file with the channel.
    """
    source = _source(cut)
    if source.type != "file":
        return None
    try:
        file = Path(source.source).stat()
    except OSError:
        return None
    if time.time() - max(file.st_mtime, file.st_ctime) < SETTLED_SECONDS:
        return None
    path = str(Path(source.source).absolute())
    identity = path, file.st_size, file.st_mtime_ns, file.st_ctime_ns, file.st_ino
    return (*identity, *astuple(_segment(cut)), sample_rate)


@dataclass(frozen=True)
class _Segment:
    """Arguments of ``load_segment``."""

    start: int
    num_samples: int
    channel: int | None
    file_rate: int


def _segment(cut: Cut) -> _Segment:
    from lhotse.utils import compute_num_samples

    recording = cut.recording
    start = compute_num_samples(cut.start, recording.sampling_rate)
    return _Segment(
        start,
        # Times are rounded: the last sample of a cut may be one too late.
        min(cut.num_samples, recording.num_samples - start),
        None if recording.num_channels == 1 else cut.channel + 1,
        recording.sampling_rate,
    )


def _source(cut: Any) -> Any:
    for source in cut.recording.sources:
        if cut.channel in source.channels and source.type in {"file", "memory"}:
            return source
    raise InputError(f"utterance {cut.id}: its recording has no file with channel {cut.channel}")
