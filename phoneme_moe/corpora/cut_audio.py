"""Audio of a Lhotse cut, read as any other audio file: the same in training as in recognition.

Lhotse's loader would also run commands and fetch addresses; this one reads files and memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phoneme_moe.audio.waveform import Waveform, load_segment
from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from lhotse.cut import Cut


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
    from lhotse.utils import compute_num_samples

    recording = cut.recording
    source = _source(cut)
    start = compute_num_samples(cut.start, recording.sampling_rate)
    return load_segment(
        source.source,
        sample_rate,
        start,
        # Times are rounded: the last sample of a cut may be one too late.
        min(cut.num_samples, recording.num_samples - start),
        channel=None if recording.num_channels == 1 else cut.channel + 1,
        name=f"utterance {cut.id}",
        file_rate=recording.sampling_rate,
    )


def _source(cut: Any) -> Any:
    for source in cut.recording.sources:
        if cut.channel in source.channels and source.type in {"file", "memory"}:
            return source
    raise InputError(f"utterance {cut.id}: its recording has no file with channel {cut.channel}")
