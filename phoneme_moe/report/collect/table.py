"""Routing weights row by row: of one utterance, and of a whole split as one table.

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
    """Routing weights of every real frame (or token) of one utterance; padding is not in it.

    Attributes:
        utterance: Its identifier.
        speaker: Its speaker.
        frame_seconds: Seconds from one row to the next; the first row starts at 0.
        weights: Weight of each expert in the row, shape (rows, experts), in 0..1, each row sums to
            1; 0 for an expert that was not selected.
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 where there is none
            (silence, CTC blank, unknown).
        edge: Whether the row is the first or last of its phoneme, shape (rows,); False without a
            phoneme.
        right: Whether the spoken phoneme has the highest posterior, shape (rows,); False without a
            phoneme.
        credit: Each expert's share of the probability that the mixture gives the spoken phoneme,
            weight times the expert's probability over their sum, shape (rows, experts), each row
            sums to 1; 0 without a phoneme. None where experts have no posteriors (layers inside an
            encoder).
    """

    utterance: str
    speaker: str
    frame_seconds: float
    weights: NDArray[np.float32]
    phoneme: NDArray[np.int64]
    edge: NDArray[np.bool_]
    right: NDArray[np.bool_]
    credit: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class RoutingTable:
    """Routing weights of every row of a split in memory.

    A report of a run is accumulated utterance by utterance and never holds such a table; it is the
    entrance for routing from elsewhere: ``summarize(table)`` and ``verdict`` describe any mixture
    of experts over labelled cases (``of_labels``).

    Attributes:
        experts: Name of each expert; an expert trained on one speaker bears that speaker's name.
        speakers: Names of the speakers, in the order of the ``speaker`` indices; or of whatever
            else labels the rows, such as digits or accents.
        phonemes: Names of the phonemes, in the order of the ``phoneme`` indices.
        utterances: Utterance identifiers, in the order of the ``utterance`` indices.
        weights: Weight of each expert, shape (rows, experts), in 0..1, each row sums to 1.
        speaker: Index of the row's speaker, shape (rows,).
        phoneme: Index of the phoneme spoken in the row, shape (rows,); -1 where there is none
            (silence, CTC blank).
        utterance: Index of the row's utterance, shape (rows,).
        label_name: What the labels are, in the singular; sentences about the table use it.
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
        """The routing of labelled cases that are not speech: every case is an utterance of one row.

        Args:
            weights: Weight of each expert, shape (cases, experts), in 0..1, each row sums to 1.
            labels: The label of each case; its text is its name. Length cases.
            label_name: What a label is, in the singular: ``digit``.
            experts: Names of the experts; numbered when left out.
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
        """The rows of each utterance; those of two speakers in one are two of the same name.

        A table knows no times, no edges and no posteriors: they are 0 or False.
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
                right=unknown,
            )
