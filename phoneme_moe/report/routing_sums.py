"""Sums of routing per utterance: all that the statistics need, even for 100 hours of speech.

Legend: T rows (frames, or tokens), U utterances, P phonemes, E experts, S speakers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.report.collect.table import RoutingTable, UtteranceRouting

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Masses = NDArray[np.float32]

#: Masses per block of storage: 16 MiB, which is returned to the system when freed.
_BLOCK = 2**22
#: Utterances that are summed at once, to limit the memory of a float64 copy.
_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class RoutingSums:
    """Sums of the weights of every expert in every utterance, by phoneme.

    A mass is a sum of weights over rows; the weights of a row sum to 1, so masses are counts of
    rows. Every utterance has at least one row.

    Attributes:
        experts: Names of the E experts.
        phonemes: Names of the P phonemes that could occur.
        speakers: Names of the S speakers that occur, sorted.
        utterances: Names of the U utterances, in the order in which they were added.
        speaker: Index of each utterance's speaker, shape (utterances,).
        rows: Number of rows of each phoneme, shape (utterances, 1 + phonemes); slot 0 counts the
            rows without a phoneme (silence, CTC blank), slot p + 1 those of phoneme p.
        mass: Mass of each expert, shape (utterances, 1 + phonemes, experts), with the same slots.
        entropy: Entropy of the weights summed over rows, in nats, shape (utterances,).
        edge_rows: Number of steady rows (0) and of first or last rows of a phoneme (1), shape
            (utterances, 2). Only rows with a phoneme; all 0 if unknown.
        edge_mass: Mass of each expert in these rows, shape (utterances, 2, experts).
        right_rows: Number of wrong (0) and right (1) rows, shape (utterances, 2). Only judged rows
            (``UtteranceRouting.judged``); all 0 if unknown.
        right_mass: Mass of each expert in these rows, shape (utterances, 2, experts).
        credit: Summed credit, shape (utterances, experts); None if experts have no posteriors.
        label_name: Noun for the labels if they are not speakers.
    """

    experts: tuple[str, ...]
    phonemes: tuple[str, ...]
    speakers: tuple[str, ...]
    utterances: tuple[str, ...]
    speaker: Counts
    rows: Counts
    mass: Masses
    entropy: Floats
    edge_rows: Counts
    edge_mass: Masses
    right_rows: Counts
    right_mass: Masses
    credit: Masses | None
    label_name: str = "speaker"

    def by_speaker(self) -> Floats:
        """Mass of each speaker in float64, shape (speakers, 1 + phonemes, experts)."""
        sums = np.zeros((len(self.speakers), *self.mass.shape[1:]))
        bounds = np.cumsum(np.bincount(self.speaker))[:-1]
        by_speaker = np.split(np.argsort(self.speaker, kind="stable"), bounds)
        for total, utterances in zip(sums, by_speaker, strict=True):
            for start in range(0, len(utterances), _AT_ONCE):
                chunk = self.mass[utterances[start : start + _AT_ONCE]]
                total += chunk.sum(axis=0, dtype=np.float64)
        return sums

    def sum_by_speaker(self, values: NDArray[np.generic]) -> Floats:
        """Sums values over each speaker's utterances, shape (speakers, ...).

        Args:
            values: Values of each utterance, shape (utterances, ...).
        """
        sums = np.zeros((len(self.speakers), *values.shape[1:]))
        np.add.at(sums, self.speaker, values)
        return sums


@dataclass
class _Block:
    """Storage of some utterances, with the attributes of ``RoutingSums``."""

    rows: Counts
    mass: Masses
    entropy: Floats
    edge_rows: Counts
    edge_mass: Masses
    right_rows: Counts
    right_mass: Masses
    credit: Masses
    used: int = 0

    @classmethod
    def empty(cls, size: int, slots: int, experts: int) -> _Block:
        """Allocates storage for ``size`` utterances."""
        return cls(
            rows=np.zeros((size, slots), np.int64),
            mass=np.zeros((size, slots, experts), np.float32),
            entropy=np.zeros(size),
            edge_rows=np.zeros((size, 2), np.int64),
            edge_mass=np.zeros((size, 2, experts), np.float32),
            right_rows=np.zeros((size, 2), np.int64),
            right_mass=np.zeros((size, 2, experts), np.float32),
            credit=np.zeros((size, experts), np.float32),
        )


class RoutingAccumulator:
    """Accumulates the routing of a split, one utterance at a time.

    Memory is proportional to utterances x phonemes x experts x 4 bytes, not to rows; time is
    proportional to rows and non-zero weights.

    Args:
        experts: Names of the experts.
        phonemes: Names of the phonemes, in the order of the rows' indices.
    """

    def __init__(self, experts: tuple[str, ...], phonemes: tuple[str, ...]) -> None:
        self._experts, self._phonemes = experts, phonemes
        self._utterances: list[str] = []
        self._speakers: list[str] = []
        self._blocks: list[_Block] = []
        self._size = max(1, _BLOCK // ((len(phonemes) + 1) * len(experts)))
        self._credited = True

    def add(self, utterance: UtteranceRouting) -> None:
        """Adds one utterance, ignoring it if it has no rows.

        Args:
            utterance: Routing with the accumulator's experts and phonemes.
        """
        if len(utterance.weights) == 0:
            return
        slots, experts = len(self._phonemes) + 1, len(self._experts)
        if not self._blocks or self._blocks[-1].used == self._size:
            self._blocks.append(_Block.empty(self._size, slots, experts))
        block = self._blocks[-1]
        at = block.used
        block.used += 1
        self._utterances.append(utterance.utterance)
        self._speakers.append(utterance.speaker)

        # Only experts with weight, such as 2 of 64 in a sparse layer.
        flat = utterance.weights.ravel()
        selected = np.flatnonzero(flat)
        row, expert = np.divmod(selected, experts)
        weight = flat[selected].astype(np.float64)
        slot = utterance.phoneme + 1
        block.rows[at] = np.bincount(slot, minlength=slots)
        block.mass[at] = np.bincount(
            slot[row] * experts + expert, weight, minlength=slots * experts
        ).reshape(slots, experts)
        block.entropy[at] = -(weight * np.log(weight)).sum()

        spoken = slot > 0
        marks = np.stack(
            [
                spoken & ~utterance.edge,
                spoken & utterance.edge,
                utterance.judged & ~utterance.right,
                utterance.judged & utterance.right,
            ]
        )
        rows = marks.sum(axis=1)
        mass = marks.astype(np.float32) @ utterance.weights
        block.edge_rows[at], block.right_rows[at] = rows[:2], rows[2:]
        block.edge_mass[at], block.right_mass[at] = mass[:2], mass[2:]
        if utterance.credit is None:
            self._credited = False
        else:
            block.credit[at] = utterance.credit.sum(axis=0)

    def finish(self) -> RoutingSums:
        """Returns the sums of all utterances and empties the accumulator.

        Raises:
            InputError: No row was added.
        """
        if not self._utterances:
            raise InputError("the routing has no rows; expected at least one routed frame")
        speakers = tuple(sorted(set(self._speakers)))
        index = {name: i for i, name in enumerate(speakers)}
        columns: dict[str, Any] = {
            field.name: self._join(field.name) for field in fields(_Block) if field.name != "used"
        }
        self._blocks = []
        sums = RoutingSums(
            experts=self._experts,
            phonemes=self._phonemes,
            speakers=speakers,
            utterances=tuple(self._utterances),
            speaker=np.array([index[name] for name in self._speakers], dtype=np.int64),
            **columns,
        )
        self._utterances, self._speakers = [], []
        return sums if self._credited else replace(sums, credit=None)

    def _join(self, name: str) -> NDArray[Any]:
        """Joins one column of all blocks, freeing each once copied to save memory."""
        first = getattr(self._blocks[0], name)
        joined = np.empty((len(self._utterances), *first.shape[1:]), first.dtype)
        done = 0
        for block in self._blocks:
            joined[done : done + block.used] = getattr(block, name)[: block.used]
            done += block.used
            setattr(block, name, None)
        return joined


def sum_table(table: RoutingTable) -> RoutingSums:
    """Sums a table in memory, which has no edges, correctness or credit.

    Args:
        table: The routing of a split; speakers without rows are omitted.

    Raises:
        InputError: The table has no rows.
    """
    accumulator = RoutingAccumulator(table.experts, table.phonemes)
    for utterance in table.by_utterance():
        accumulator.add(utterance)
    sums = accumulator.finish()
    return replace(
        sums,
        label_name=table.label_name,
        edge_rows=np.zeros_like(sums.edge_rows),
        edge_mass=np.zeros_like(sums.edge_mass),
        right_rows=np.zeros_like(sums.right_rows),
        right_mass=np.zeros_like(sums.right_mass),
    )
