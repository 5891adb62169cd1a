"""Audio of clips, cut out of the corpus's recordings.

Legend: a waveform is a NumPy array of shape (samples,), amplitude -1..1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import Waveform
from phoneme_moe.report.clips.find import Clip

if TYPE_CHECKING:
    from lhotse import CutSet

FADE_SECONDS = 0.005
"""At both ends, so that a cut does not click."""


@dataclass(frozen=True, eq=False)
class ClipAudio:
    """Audio of a clip.

    Attributes:
        waveform: The phoneme with its surroundings, faded at both ends.
        sample_rate: Of the recording, in samples per second.
        offset: Where the phoneme begins in it, in seconds.
        length: How long the phoneme is, in seconds.
    """

    waveform: Waveform
    sample_rate: int
    offset: float
    length: float

    @property
    def seconds(self) -> float:
        """Length of the whole."""
        return len(self.waveform) / self.sample_rate

    def save(self, path: Path) -> None:
        """Writes it as FLAC of 16 bits, which browsers play."""
        # libsndfile's conversion has the scale 32767; with this one 16-bit recordings stay exact.
        samples = np.rint(self.waveform * 32768).clip(-32768, 32767).astype(np.int16)
        soundfile.write(path, samples, self.sample_rate, format="FLAC", subtype="PCM_16")

    def envelope(self, columns: int) -> NDArray[np.float32]:
        """Lowest and highest amplitude in each of some columns, shape (columns, 2), -1..1.

        Scaled to a peak of 1: the page shows shape, not level.
        """
        edges = np.linspace(0, len(self.waveform), columns + 1).astype(int)
        starts = np.minimum(edges[:-1], len(self.waveform) - 1)
        low = np.minimum.reduceat(self.waveform, starts)
        high = np.maximum.reduceat(self.waveform, starts)
        loudest = max(float(np.abs(self.waveform).max()), 1e-9)
        both: NDArray[np.float32] = np.stack([low, high], axis=1).astype(np.float32) / loudest
        return both


def times_in_recordings(clips: Sequence[Clip], cuts: CutSet) -> list[Clip]:
    """Clips of tokens with their times in the recording instead of in the token.

    Args:
        clips: Of tokens.
        cuts: Of the corpus's split, with phoneme times.
    """
    utterances = {_of_token(clip)[0] for clip in clips}
    items = {
        cut.id: cut.supervisions[0].alignment["phoneme"] for cut in cuts if cut.id in utterances
    }
    placed = []
    for clip in clips:
        utterance, number = _of_token(clip)
        item = items[utterance][number]
        placed.append(replace(clip, start=item.start, end=item.start + item.duration))
    return placed


def _of_token(clip: Clip) -> tuple[str, int]:
    utterance, _, number = clip.utterance.rpartition("#")
    return utterance, int(number)


def cut_clips(
    clips: Sequence[Clip], cuts: CutSet, context: float, tokens: bool = False
) -> Iterator[tuple[int, ClipAudio]]:
    """The audio of each clip; every recording is read once.

    Args:
        clips: With times in their recordings.
        cuts: Of the corpus's split.
        context: Audio before and after the phoneme, in seconds, where the recording has it.
        tokens: Whether the clips are tokens.

    Yields:
        Number of the clip, from 0, and its audio; in no order.

    Raises:
        InputError: A recording cannot be read any more.
    """
    of_utterance: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        of_utterance[_of_token(clip)[0] if tokens else clip.utterance].append(number)
    for cut in cuts:
        if cut.id not in of_utterance:
            continue
        try:
            waveform = cut.load_audio()[0].astype(np.float32)
        except Exception as error:  # Lhotse's backends each raise their own kinds
            raise InputError(f"utterance {cut.id}: its recording cannot be read") from error
        for number in of_utterance[cut.id]:
            clip = clips[number]
            yield number, cut_audio(waveform, cut.sampling_rate, clip.start, clip.end, context)


def cut_audio(
    waveform: Waveform, sample_rate: int, start: float, end: float, context: float
) -> ClipAudio:
    """A part of a recording with its surroundings.

    Args:
        waveform: The recording.
        sample_rate: Its samples per second.
        start: Of the part, in seconds.
        end: Likewise.
        context: As in ``cut_clips``.
    """
    first = max(0, round((start - context) * sample_rate))
    last = min(len(waveform), round((end + context) * sample_rate))
    part = waveform[first:last].copy()
    fade = min(round(FADE_SECONDS * sample_rate), len(part) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / max(fade, 1))).astype(np.float32)
    part[:fade] *= ramp
    part[len(part) - fade :] *= ramp[::-1]
    offset = start - first / sample_rate
    ends = min(end - first / sample_rate, len(part) / sample_rate)
    return ClipAudio(part, sample_rate, offset, ends - offset)
