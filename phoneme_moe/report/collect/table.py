"""Routing weights by row, for one utterance and for a whole split.

Legend: T rows (frames, or one token), E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.recipe.router import numbered_experts


@dataclass(frozen=True, eq=False)
class UtteranceRouting:
    """Routing weights of every frame (or token) of one utterance, without padding.

    Attributes:
        utterance: Identifier of the utterance.
        speaker: Its speaker.
        frame_seconds: Seconds from one row to the next; the first row starts at 0.
        weights: Weight of each expert, shape (rows, experts); rows sum to 1; 0 for an expert that
            was not selected.
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 for none (silence, CTC
            blank, unknown).
        edge: Whether the row is the first or last of its phoneme, shape (rows,); False without a
            phoneme.
        judged: Whether the row is right or wrong, shape (rows,): a token, or a frame in which the
            model emits a phoneme (greedy decoding). Other frames, with the CTC blank, are neither.
        right: Whether the phoneme of a judged row is correct, in the alignment of the hypothesis of
            greedy decoding with the reference; shape (rows,); False elsewhere.
        credit: Each expert's share of the probability of the spoken phoneme (its weight times its
            posterior over the sum of these), shape (rows, experts); rows sum to 1, or are 0 without
            a phoneme. None if experts have no posteriors (sparse layers of an encoder).
        hypothesis: Index of the phoneme with the highest posterior in each row, shape (rows,); -1
            for the CTC blank. None if there are no posteriors.
    """

    utterance: str
    speaker: str
    frame_seconds: float
    weights: NDArray[np.float32]
    phoneme: NDArray[np.int64]
    edge: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    right: NDArray[np.bool_]
    credit: NDArray[np.float32] | None = None
    hypothesis: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class RoutingTable:
    """Routing weights of every row of a split in memory.

    It is for routing from other sources: ``summarize(table)`` and ``verdict`` describe any mixture
    of experts over labelled cases (``of_labels``). The report of a run is instead accumulated
    utterance by utterance.

    Attributes:
        experts: Name of each expert; that of a speaker's own expert is the speaker's.
        speakers: Names of the speakers, in the order of the ``speaker`` indices; or of other labels
            of the rows, such as digits or accents.
        phonemes: Names of the phonemes, in the order of the ``phoneme`` indices.
        utterances: Utterance identifiers, in the order of the ``utterance`` indices.
        weights: Weight of each expert, shape (rows, experts); rows sum to 1.
        speaker: Index of the row's speaker, shape (rows,).
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 for none (silence, CTC
            blank).
        utterance: Index of the row's utterance, shape (rows,).
        label_name: Noun for the labels in the singular, used in sentences.
    """

    experts: tuple[str, ...]
    speakers: tuple[str, ...]
    phonemes: tuple[str, ...]
    utterances: tuple[str, ...]
    weights: NDArray[np.float32]
    speaker: NDArray[np.int64]
    phoneme: NDArray[np.int64]
    utterance: NDArray[np.int64]
    label_name: str = "speaker"

    def __post_init__(self) -> None:
        rows = len(self.weights)
        if self.weights.shape != (rows, len(self.experts)):
            raise ValueError(
                f"weights have shape {self.weights.shape}, expected ({rows}, {len(self.experts)})"
            )
        for name in ("speaker", "phoneme", "utterance"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, expected ({rows},)"
                )

    @classmethod
    def of_labels(
        cls,
        weights: NDArray[np.floating],
        labels: Sequence[object],
        *,
        label_name: str = "label",
        experts: Sequence[str] = (),
    ) -> RoutingTable:
        """The routing of labelled cases other than speech, each an utterance of one row.

        Args:
            weights: Weight of each expert, shape (cases, experts); rows sum to 1.
            labels: Label of each case, converted to a string.
            label_name: Noun for the labels in the singular, such as ``digit``.
            experts: Names of the experts; by default they are numbered.
        """
        names, indices = np.unique([str(label) for label in labels], return_inverse=True)
        cases = np.arange(len(weights))
        return cls(
            experts=tuple(experts) or numbered_experts(weights.shape[1]),
            speakers=tuple(names.tolist()),
            phonemes=(),
            utterances=tuple(map(str, cases)),
            weights=weights.astype(np.float32),
            speaker=indices,
            phoneme=np.full(len(cases), -1),
            utterance=cases,
            label_name=label_name,
        )

    def by_utterance(self) -> Iterator[UtteranceRouting]:
        """The rows of each utterance; one with two speakers gives two of the same name.

        A table has no times, edges or posteriors, so these are 0 or False.
        """
        key = self.utterance * len(self.speakers) + self.speaker
        order = np.argsort(key, kind="stable")
        bounds = np.flatnonzero(np.diff(key[order])) + 1
        for rows in np.split(order, bounds):
            if len(rows) == 0:
                continue
            unknown = np.zeros(len(rows), dtype=np.bool_)
            yield UtteranceRouting(
                utterance=self.utterances[self.utterance[rows[0]]],
                speaker=self.speakers[self.speaker[rows[0]]],
                frame_seconds=0.0,
                weights=self.weights[rows],
                phoneme=self.phoneme[rows],
                edge=unknown,
                judged=unknown,
                right=unknown,
            )
