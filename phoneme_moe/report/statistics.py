"""Means and counts of routing weights, effective numbers of experts, experts by speaker.

Legend: S speakers, E experts, P phonemes. A row is a routed frame or token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.recipe.router import DEAD_PART
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.routing_sums import RoutingSums, sum_table
from phoneme_moe.report.serving import BORROW_RATIO, MAIN_SHARE, Serving, serving

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RoutingReport:
    """Mean routing weights per speaker, per phoneme and overall, with the counts behind them.

    It contains only speakers and phonemes with rows. Weights are means over rows, 0..1, and sum to
    1 over the experts.

    Attributes:
        unit: Noun for a row: ``frame`` or ``token`` in speech.
        experts: Names of the E experts.
        speakers: Names of the S speakers, sorted.
        phonemes: Names of the P phonemes that occur, in the order of the routing.
        num_utterances: Number of utterances with rows.
        weights: Mean weight of each expert for each speaker, shape (speakers, experts).
        rows: Number of rows of each speaker, shape (speakers,).
        utterances: Number of utterances of each speaker, shape (speakers,).
        effective_experts: Effective number of experts of each speaker's mean weights, 1..E,
            shape (speakers,).
        effective_per_row: Effective number of experts within one row, 1..E, as the geometric mean
            over the speaker's rows, shape (speakers,). Never above ``effective_experts``; the ratio
            measures switching between rows.
        load: Mean weight of each expert over all rows, shape (experts,).
        phoneme_weights: Mean weights for each phoneme, shape (phonemes, experts).
        phoneme_rows: Number of rows of each phoneme, shape (phonemes,). Rows without a phoneme
            (silence, CTC blank) count only for speakers.
        phoneme_utterances: Number of utterances in which each phoneme occurs, shape (phonemes,).
        speaker_phoneme_weights: Mean weights, shape (speakers, phonemes, experts); NaN for a
            phoneme that does not occur for the speaker.
        speaker_phoneme_rows: Number of rows, shape (speakers, phonemes).
        label_name: Noun for the labels if they are not speakers, such as ``digit``.
    """

    unit: str
    experts: tuple[str, ...]
    speakers: tuple[str, ...]
    phonemes: tuple[str, ...]
    num_utterances: int
    weights: Floats
    rows: Counts
    utterances: Counts
    effective_experts: Floats
    effective_per_row: Floats
    load: Floats
    phoneme_weights: Floats
    phoneme_rows: Counts
    phoneme_utterances: Counts
    speaker_phoneme_weights: Floats
    speaker_phoneme_rows: Counts
    label_name: str = "speaker"

    @property
    def most_used(self) -> tuple[int, ...]:
        """Index of each speaker's most used expert (the first if tied)."""
        return tuple(self.weights.argmax(axis=1).tolist())

    @property
    def own_expert(self) -> tuple[int | None, ...]:
        """Index of each speaker's own expert (of the same name), or None."""
        index = {name: i for i, name in enumerate(self.experts)}
        return tuple(index.get(name) for name in self.speakers)

    @property
    def own_share(self) -> tuple[float | None, ...]:
        """Weight of each speaker's own expert, 0..1, or None."""
        return tuple(
            None if expert is None else float(self.weights[i, expert])
            for i, expert in enumerate(self.own_expert)
        )

    @property
    def borrowed_from(self) -> tuple[int | None, ...]:
        """Index of the expert that each speaker borrows, or None.

        A speaker borrows if its most used expert is not its own and has at least ``BORROW_RATIO``
        times the weight of its own. Hampshire and Waibel observed this in 1989: their network
        recognised speaker MHT without the module trained on MHT.
        """
        return tuple(
            best
            if share is not None and best != named and self.weights[i, best] >= BORROW_RATIO * share
            else None
            for i, (best, named, share) in enumerate(
                zip(self.most_used, self.own_expert, self.own_share, strict=True)
            )
        )

    @property
    def serving(self) -> tuple[Serving, ...]:
        """Which expert serves each speaker, as one of five cases (``report.serving``)."""
        return serving(self.weights, self.own_expert)

    @property
    def blended(self) -> tuple[bool, ...]:
        """For each speaker, whether no expert has ``MAIN_SHARE`` of the weight."""
        return tuple((self.weights.max(axis=1) < MAIN_SHARE).tolist())

    @property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """For each expert, the speakers whose most used expert it is, largest weight first."""
        most_used = np.array(self.most_used)
        by_weight = np.argsort(-self.weights.max(axis=1), kind="stable")
        return tuple(
            tuple(by_weight[most_used[by_weight] == expert].tolist())
            for expert in range(len(self.experts))
        )

    @property
    def dead(self) -> tuple[int, ...]:
        """Experts with a load below ``DEAD_PART`` / E that are no speaker's most used expert."""
        floor = DEAD_PART / len(self.experts)
        return tuple(
            expert
            for expert, (load, users) in enumerate(zip(self.load, self.users, strict=True))
            if load < floor and not users
        )

    def select(self, speakers: Sequence[int]) -> RoutingReport:
        """The report for some of the speakers; load and phonemes remain those of all.

        Dead experts are those of the whole report.

        Args:
            speakers: Indices of the speakers to keep, in display order.
        """
        chosen = np.asarray(speakers, dtype=np.int64)
        return replace(
            self,
            speakers=tuple(self.speakers[i] for i in chosen),
            weights=self.weights[chosen],
            rows=self.rows[chosen],
            utterances=self.utterances[chosen],
            effective_experts=self.effective_experts[chosen],
            effective_per_row=self.effective_per_row[chosen],
            speaker_phoneme_weights=self.speaker_phoneme_weights[chosen],
            speaker_phoneme_rows=self.speaker_phoneme_rows[chosen],
        )

    def most_blended(self, limit: int) -> list[int]:
        """Indices of the ``limit`` speakers with the most effective experts, in report order."""
        order = np.argsort(-self.effective_experts, kind="stable")
        return sorted(order[:limit].tolist())


def effective_number(weights: Floats) -> Floats:
    """Effective number of experts: the exponential of the entropy of the weights.

    The number of equally used experts that would be as uncertain (Hill number of order 1;
    Jost, "Entropy and diversity", Oikos 2006).

    Args:
        weights: Weights of the experts, 0..1, shape (..., experts); sum to 1.

    Returns:
        Effective numbers, shape (...), from 1 (one expert) to E (equal weights).
    """
    # Weights that sum to 1 + 1e-7 in float32 would give slightly less than one expert.
    number: Floats = np.exp(np.maximum(_entropy_terms(weights).sum(axis=-1), 0.0))
    return number


def summarize(routing: RoutingTable | RoutingSums, *, unit: str = "frame") -> RoutingReport:
    """The statistics of a split's routing: means of weights, counts, effective numbers.

    Args:
        routing: Routing by row or summed; speakers and phonemes without rows are omitted.
        unit: Noun for a row.

    Returns:
        The report with means in float64 and speakers sorted by name.

    Raises:
        InputError: The table has no rows.
    """
    totals = sum_table(routing) if isinstance(routing, RoutingTable) else routing
    sums = totals.by_speaker()
    rows = totals.sum_by_speaker(totals.rows).astype(np.int64)
    speaker_rows = rows.sum(axis=1)
    phonemes = np.flatnonzero(rows[:, 1:].any(axis=0))
    phoneme_rows = rows[:, 1:].sum(axis=0)[phonemes]
    pair_rows = rows[:, 1:][:, phonemes]
    pair_sums = sums[:, 1:][:, phonemes]
    pair_weights = np.full(pair_sums.shape, np.nan)
    np.divide(pair_sums, pair_rows[..., None], out=pair_weights, where=pair_rows[..., None] > 0)

    weights = sums.sum(axis=1) / speaker_rows[:, None]
    row_entropy = totals.sum_by_speaker(totals.entropy)
    # In the sums, an utterance with two speakers occurs twice under one name.
    name = np.unique(np.array(totals.utterances), return_inverse=True)[1]
    spoken, phoneme = np.nonzero(totals.rows[:, 1:])
    return RoutingReport(
        unit=unit,
        experts=totals.experts,
        speakers=totals.speakers,
        phonemes=tuple(totals.phonemes[i] for i in phonemes),
        num_utterances=len(np.unique(name)),
        weights=weights,
        rows=speaker_rows,
        utterances=_distinct(totals.speaker, name, len(totals.speakers)),
        effective_experts=effective_number(weights),
        effective_per_row=np.exp(np.maximum(row_entropy / speaker_rows, 0.0)),
        load=sums.sum(axis=(0, 1)) / rows.sum(),
        phoneme_weights=pair_sums.sum(axis=0) / phoneme_rows[:, None],
        phoneme_rows=phoneme_rows,
        phoneme_utterances=_distinct(phoneme, name[spoken], len(totals.phonemes))[phonemes],
        speaker_phoneme_weights=pair_weights,
        speaker_phoneme_rows=pair_rows,
        label_name=totals.label_name,
    )


def _entropy_terms(weights: Floats) -> Floats:
    """Each weight's term -w log w of the entropy, in nats; 0 where the weight is 0."""
    return -weights * np.log(np.where(weights > 0, weights, 1.0))


def _distinct(group: Counts, utterance: Counts, num_groups: int) -> Counts:
    """Number of distinct utterances in each group, shape (groups,)."""
    span = int(utterance.max(initial=0)) + 1
    pairs = np.sort(group * span + utterance)
    return np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] // span, minlength=num_groups)
