"""Audio of clips, cut from the corpus's recordings.

Legend: a waveform is a NumPy array of shape (samples,), amplitude -1..1.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.report.clips.find import Clip

if TYPE_CHECKING:
    from lhotse import CutSet

FADE_SECONDS = 0.005
"""Duration of the fade at both ends, which avoids clicks."""


@dataclass(frozen=True, eq=False)
class ClipAudio:
    """Audio of a clip.

    Attributes:
        waveform: The phoneme with its context, faded at both ends.
        sample_rate: Sample rate in Hz.
        offset: Start of the phoneme in the waveform, in seconds.
        length: Duration of the phoneme in seconds.
    """

    waveform: Waveform
    sample_rate: int
    offset: float
    length: float

    @property
    def seconds(self) -> float:
        """Duration of the waveform in seconds."""
        return len(self.waveform) / self.sample_rate

    def save(self, path: Path) -> None:
        """Writes the audio as 16-bit FLAC, which browsers play."""
        # libsndfile would scale by 32767; this scale preserves 16-bit recordings exactly.
        samples = np.rint(self.waveform * 32768).clip(-32768, 32767).astype(np.int16)
        # Encoded in memory: libsndfile's error of a full disk does not say what is wrong.
        content = io.BytesIO()
        soundfile.write(content, samples, self.sample_rate, format="FLAC", subtype="PCM_16")
        path.write_bytes(content.getvalue())

    def envelope(self, columns: int) -> NDArray[np.float32]:
        """Lowest and highest amplitude in each column of a plot, shape (columns, 2), -1..1.

        Normalised to a peak of 1, since the page shows the shape and not the level.
        """
        edges = np.linspace(0, len(self.waveform), columns + 1).astype(int)
        starts = np.minimum(edges[:-1], len(self.waveform) - 1)
        low = np.minimum.reduceat(self.waveform, starts)
        high = np.maximum.reduceat(self.waveform, starts)
        loudest = max(float(np.abs(self.waveform).max()), 1e-9)
        both: NDArray[np.float32] = np.stack([low, high], axis=1).astype(np.float32) / loudest
        return both


def times_in_recordings(clips: Sequence[Clip], cuts: CutSet) -> list[Clip]:
    """Converts the times of token clips from the token to the recording.

    Args:
        clips: Clips of tokens.
        cuts: Cuts of the corpus's split, with phoneme times.
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
    """Cuts the audio of each clip, reading every recording once.

    Args:
        clips: Clips with times in their recordings.
        cuts: Cuts of the corpus's split.
        context: Seconds of audio before and after the phoneme, as far as the recording has them.
        tokens: Whether the clips are tokens.

    Yields:
        Index of the clip and its audio, in no particular order.

    Raises:
        InputError: A recording can no longer be read.
    """
    of_utterance: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        of_utterance[_of_token(clip)[0] if tokens else clip.utterance].append(number)
    for cut in cuts:
        if cut.id not in of_utterance:
            continue
        waveform = load_cut(cut, cut.sampling_rate)
        for number in of_utterance[cut.id]:
            clip = clips[number]
            yield number, cut_audio(waveform, cut.sampling_rate, clip.start, clip.end, context)


def cut_audio(
    waveform: Waveform, sample_rate: int, start: float, end: float, context: float
) -> ClipAudio:
    """Cuts a part of a recording with its context.

    Args:
        waveform: Waveform of the recording.
        sample_rate: Sample rate in Hz.
        start: Start of the part in seconds.
        end: End of the part in seconds.
        context: See ``cut_clips``.
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
