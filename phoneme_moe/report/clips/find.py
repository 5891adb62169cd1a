"""Search for the spoken phonemes behind a cell of the routing report, and sampling.

A *clip* is one phoneme of one utterance: the rows (frames, or one token) in which it is spoken.

Legend: T rows, E experts, N phonemes of an utterance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.data.examples import Example
from phoneme_moe.inference import RecognizedUtterance, recognize_split
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.collect.frame_phonemes import decoded_phonemes, phoneme_rows
from phoneme_moe.report.page.cell_links import Kind

SEED = 0
"""Random seed of the sample if there are more clips than the limit."""


@dataclass(frozen=True)
class ClipQuery:
    """Criteria of a search for clips; None matches any.

    Attributes:
        speaker: The speaker.
        expert: The expert with the greatest mean weight over the phoneme's rows.
        phoneme: The phoneme spoken.
        wrong: Whether to restrict the search to misrecognised phonemes.
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
        utterance: Identifier of its utterance; for a token, followed by ``#`` and its number.
        speaker: Its speaker.
        phoneme: The phoneme of the reference.
        start: Start in seconds from the start of the utterance (or token).
        end: End, likewise.
        rows: Number of frames in which it is spoken; 1 for a token.
        weights: Mean weight of each expert over these frames, shape (experts,), sums to 1.
        hypothesis: The recognised phoneme aligned with it; None for a deletion.
    """

    utterance: str
    speaker: str
    phoneme: str
    start: float
    end: float
    rows: int
    weights: NDArray[np.float32]
    hypothesis: str | None

    @property
    def expert(self) -> int:
        """Index of the leading expert, which has the greatest weight."""
        return int(self.weights.argmax())

    @property
    def wrong(self) -> bool:
        """Whether the run misrecognised it."""
        return self.hypothesis != self.phoneme


@dataclass
class SearchCounts:
    """Counts of the phonemes searched, updated while ``find_clips`` runs.

    Attributes:
        phonemes: Number of spoken phonemes, whether or not they match.
        without_rows: Number of these without a row: shorter than a frame, or in an utterance
            without times that could not be aligned. They are in no cell of the report.
    """

    phonemes: int = 0
    without_rows: int = 0


def find_clips(
    recognizer: Recognizer,
    examples: Sequence[Example],
    query: ClipQuery,
    layer: str | None = None,
    counts: SearchCounts | None = None,
) -> Iterator[list[Clip]]:
    """Finds the clips behind a cell, utterance by utterance.

    Args:
        recognizer: The model in evaluation mode.
        examples: Examples, at least one.
        query: Search criteria, with names of the model and the corpus.
        layer: A sparse layer of an encoder; by default the last one.
        counts: Updated with the number of phonemes searched, if given.

    Yields:
        The matching clips of each utterance (or token), in the order spoken.

    Raises:
        InputError: There is no such layer, or a gate that takes the speaker's identity has no
            expert for a speaker.
    """
    layer, experts = recognizer.routed_layer(layer)
    expert = None if query.expert is None else experts.index(query.expert)
    counts = counts if counts is not None else SearchCounts()
    for one in recognize_split(recognizer, examples, layers=(layer,)):
        clips = _clips(recognizer, one, one.weights[layer])
        counts.phonemes += len(one.example.phonemes)
        counts.without_rows += len(one.example.phonemes) - len(clips)
        yield [
            clip
            for clip in clips
            if query.speaker in (None, clip.speaker)
            and query.phoneme in (None, clip.phoneme)
            and expert in (None, clip.expert)
            and (clip.wrong or not query.wrong)
        ]


def _clips(
    recognizer: Recognizer, one: RecognizedUtterance, weights: NDArray[np.float32]
) -> list[Clip]:
    """Every phoneme of an utterance that has rows.

    Args:
        recognizer: The model that gave the output.
        one: The utterance or token.
        weights: Routing weights, shape (rows, experts).
    """
    example = one.example
    number = phoneme_rows(recognizer, example, one.log_posteriors.float().cpu())
    spoken = number >= 0
    numbers, first, inverse, counts = np.unique(
        number[spoken], return_index=True, return_inverse=True, return_counts=True
    )
    shares = weights[spoken] / weights[spoken].sum(axis=1, keepdims=True)
    totals = np.zeros((len(numbers), weights.shape[1]))
    np.add.at(totals, inverse, shares)
    means = (totals / counts[:, None]).astype(np.float32)  # (N, E)
    first_rows = np.flatnonzero(spoken)[first]
    hypotheses = decoded_phonemes(example.phonemes, one.hypothesis)
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
                hypotheses[index],
            )
        )
    return clips


def draw_clips(clips: Sequence[Clip], limit: int) -> list[Clip]:
    """Samples clips evenly over speakers, and for each speaker evenly over utterances.

    The numbers of clips of two speakers differ by at most one unless a speaker has no more;
    likewise for the utterances of a speaker. The choice is random (``SEED``).

    Args:
        clips: Clips in any reproducible order.
        limit: Maximum number of clips, at least 1.

    Returns:
        The sample, sorted by speaker, phoneme, utterance and time.
    """
    chosen = list(clips)
    if len(chosen) > limit:
        shuffled = np.random.default_rng(SEED).permutation(len(chosen)).tolist()
        shuffled = _in_turns(shuffled, [(c.speaker, _recording(c)) for c in chosen])
        shuffled = _in_turns(shuffled, [c.speaker for c in chosen])
        chosen = [chosen[i] for i in shuffled[:limit]]
    return sorted(chosen, key=lambda clip: (clip.speaker, clip.phoneme, clip.utterance, clip.start))


def draw_of_cells(
    clips: Sequence[Clip], experts: Sequence[str], per_cell: int
) -> tuple[list[Clip], set[tuple[Kind, str, str]]]:
    """Samples clips of every speaker and expert, and of every phoneme and expert.

    Args:
        clips: Clips in any reproducible order.
        experts: All experts, in the order of the weights.
        per_cell: Maximum number for each cell, at least 1; a cell has more where its clips are
            those of another, too.

    Returns:
        The sample, sorted as by ``draw_clips``, and the cells that have clips.
    """
    seen: Counter[tuple[Kind, str, str]] = Counter()
    chosen = []
    for index in np.random.default_rng(SEED).permutation(len(clips)).tolist():
        clip = clips[index]
        expert = experts[clip.expert]
        cells: list[tuple[Kind, str, str]] = [
            ("speaker", clip.speaker, expert),
            ("phoneme", clip.phoneme, expert),
        ]
        if any(seen[cell] < per_cell for cell in cells):
            chosen.append(clip)
            seen.update(cells)
    return draw_clips(chosen, max(1, len(chosen))), set(seen)


def _recording(clip: Clip) -> str:
    """The recording, whose tokens are as similar as phonemes of one utterance."""
    return clip.utterance.rpartition("#")[0] or clip.utterance


def _in_turns(order: Sequence[int], names: Sequence[object]) -> list[int]:
    """Interleaves indices: the first of every name, then the second, and so on."""
    seen: Counter[object] = Counter()
    turns = []
    for index in order:
        turns.append(seen[names[index]])
        seen[names[index]] += 1
    return [index for _, index in sorted(zip(turns, order, strict=True), key=lambda pair: pair[0])]
