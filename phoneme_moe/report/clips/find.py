"""The spoken phonemes behind a cell of the routing report, and a fair sample of them.

A *clip* is one phoneme of one utterance: the rows (frames, or one token) in which it is spoken.

Legend: B batch, T rows, E experts, N phonemes of an utterance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.collect.frame_phonemes import decoded_phonemes, phoneme_rows

SEED = 0
"""Of the draw where there are more clips than are wanted."""


@dataclass(frozen=True)
class Cell:
    """Which clips are wanted; what is None is not asked for.

    Attributes:
        speaker: Who speaks.
        expert: Who leads: has the greatest mean weight of all experts over the phoneme's rows.
        phoneme: What is spoken.
        wrong: Only what the run recognises wrongly.
    """

    speaker: str | None = None
    expert: str | None = None
    phoneme: str | None = None
    wrong: bool = False

    def __str__(self) -> str:
        parts = [
            f"{kind} {name}"
            for kind, name in (("speaker", self.speaker), ("phoneme", self.phoneme))
            if name is not None
        ]
        parts += [f"{self.expert} leads"] if self.expert is not None else []
        return ", ".join([*parts, *(["wrong only"] if self.wrong else [])]) or "everything"


@dataclass(frozen=True, eq=False)
class Clip:
    """One spoken phoneme.

    Attributes:
        utterance: Identifier of its utterance; of a token, the utterance's and the token's number
            with ``#`` between.
        speaker: Who speaks.
        phoneme: What is spoken.
        start: Where it begins, in seconds from the start of the utterance (of the token).
        end: Where it ends, likewise.
        rows: Frames in which it is spoken; 1 for a token.
        weights: Mean weight of each expert over them, shape (experts,), in 0..1, sums to 1.
        heard: What the run took it for; None where it heard nothing.
    """

    utterance: str
    speaker: str
    phoneme: str
    start: float
    end: float
    rows: int
    weights: NDArray[np.float32]
    heard: str | None

    @property
    def expert(self) -> int:
        """Index of the expert that leads."""
        return int(self.weights.argmax())

    @property
    def wrong(self) -> bool:
        """Whether the run did not recognise it."""
        return self.heard != self.phoneme


@dataclass
class Looked:
    """What was looked through on the way; counted while ``find_clips`` runs.

    Attributes:
        phonemes: Spoken phonemes, whether wanted or not.
        without_rows: Those of them that no row belongs to: shorter than a frame, or in an utterance
            without times that could not be aligned. They are in no cell of the report.
    """

    phonemes: int = 0
    without_rows: int = 0


def find_clips(
    recognizer: Recognizer,
    examples: Sequence[Example],
    cell: Cell,
    layer: str | None = None,
    looked: Looked | None = None,
) -> Iterator[list[Clip]]:
    """The clips behind a cell, utterance by utterance.

    Args:
        recognizer: In evaluation mode.
        examples: At least one.
        cell: Which are wanted; its names are the model's and the corpus's.
        layer: A sparse layer of an encoder; its last one when left out.
        looked: Counts, where they are wanted.

    Yields:
        Of each utterance (or token) the clips that are wanted, in the order spoken.

    Raises:
        InputError: There is no such layer, or a gate that is the speaker's identity has nobody for
            a speaker.
    """
    layer, experts = recognizer.routed_layer(layer)
    chosen = None if cell.expert is None else experts.index(cell.expert)
    looked = looked if looked is not None else Looked()
    num_shifts = recognizer.decoding.shifts_for(None)
    for batch, recognition in recognize_examples(recognizer, examples, num_shifts=num_shifts):
        num_frames = recognition.num_frames.tolist()
        log_posteriors = recognition.log_posteriors.float().cpu()
        weights = recognition.routing_of(layer).weights.float().cpu().numpy()  # (B, T, E)
        hypotheses = decode_phonemes(recognizer, recognition)
        for row, (example, hypothesis) in enumerate(zip(batch.examples, hypotheses, strict=True)):
            frames = num_frames[row]
            own = weights[row, :frames]
            clips = _clips(recognizer, example, own, log_posteriors[row, :frames], hypothesis)
            looked.phonemes += len(example.phonemes)
            looked.without_rows += len(example.phonemes) - len(clips)
            yield [
                clip
                for clip in clips
                if cell.speaker in (None, clip.speaker)
                and cell.phoneme in (None, clip.phoneme)
                and chosen in (None, clip.expert)
                and (clip.wrong or not cell.wrong)
            ]


def _clips(
    recognizer: Recognizer,
    example: Example,
    weights: NDArray[np.float32],
    log_posteriors: Tensor,
    hypothesis: Sequence[str],
) -> list[Clip]:
    """Every phoneme of an utterance that has rows.

    Args:
        recognizer: Whose posteriors they are.
        example: The utterance or token.
        weights: Shape (rows, experts).
        log_posteriors: Shape (rows, outputs).
        hypothesis: What was recognised.
    """
    number = phoneme_rows(recognizer, example, log_posteriors)
    spoken = number >= 0
    numbers, first, inverse, counts = np.unique(
        number[spoken], return_index=True, return_inverse=True, return_counts=True
    )
    shares = weights[spoken] / weights[spoken].sum(axis=1, keepdims=True)
    totals = np.zeros((len(numbers), weights.shape[1]))
    np.add.at(totals, inverse, shares)
    means = (totals / counts[:, None]).astype(np.float32)  # (N, E)
    first_rows = np.flatnonzero(spoken)[first]
    heard = decoded_phonemes(example.phonemes, hypothesis)
    clips = []
    for k, index in enumerate(numbers.tolist()):
        if example.spans:
            _, start, end = example.spans[index]
        else:
            start = float(first_rows[k]) * recognizer.frame_seconds
            end = start + float(counts[k]) * recognizer.frame_seconds
        clips.append(
            Clip(
                example.utterance,
                example.speaker,
                example.phonemes[index],
                start,
                end,
                int(counts[k]),
                means[k],
                heard[index],
            )
        )
    return clips


def draw_clips(clips: Sequence[Clip], limit: int) -> list[Clip]:
    """At most so many clips, evenly over speakers, and of each speaker evenly over utterances.

    No speaker has more than one clip above another that has some left; nor has an utterance above
    another of the same speaker. Which ones is drawn (``SEED``).

    Args:
        clips: In any order that is always the same.
        limit: How many at most, 1 or more.

    Returns:
        Sorted by speaker, phoneme, utterance and time.
    """
    chosen = list(clips)
    if len(chosen) > limit:
        shuffled = np.random.default_rng(SEED).permutation(len(chosen)).tolist()
        shuffled = _in_turns(shuffled, [(c.speaker, _recording(c)) for c in chosen])
        shuffled = _in_turns(shuffled, [c.speaker for c in chosen])
        chosen = [chosen[i] for i in shuffled[:limit]]
    return sorted(chosen, key=lambda clip: (clip.speaker, clip.phoneme, clip.utterance, clip.start))


def _recording(clip: Clip) -> str:
    """Tokens of one recording are as alike as phonemes of one utterance."""
    return clip.utterance.rpartition("#")[0] or clip.utterance


def _in_turns(order: Sequence[int], names: Sequence[object]) -> list[int]:
    """The first of every name, then the second of every name, and so on."""
    seen: Counter[object] = Counter()
    turns = []
    for index in order:
        turns.append(seen[names[index]])
        seen[names[index]] += 1
    return [index for _, index in sorted(zip(turns, order, strict=True), key=lambda pair: pair[0])]
