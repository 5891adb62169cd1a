"""Assembly of the report's document from its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from phoneme_moe.model.cost import ModelCost
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.document_parts import (
    Contribution,
    Cost,
    Counts,
    PermutationTest,
    SparseLayers,
    TrainingHistory,
    UtteranceView,
)
from phoneme_moe.report.expert_ablation import Ablations
from phoneme_moe.report.measures import measure
from phoneme_moe.report.specialisation import Specialisation
from phoneme_moe.report.statistics import Floats, RoutingReport


def build_document(
    report: RoutingReport,
    specialisation: Specialisation,
    ablations: Ablations,
    cost: ModelCost | Cost,
    *,
    title: str,
    facts: Mapping[str, str],
    utterances: Sequence[UtteranceView] = (),
    training: TrainingHistory | None = None,
    layers: SparseLayers | None = None,
) -> RoutingDocument:
    """Builds the document without its sentences.

    Args:
        report: Mean weights and counts.
        specialisation: Intervals, clusters and tests.
        ablations: Error rates without experts.
        cost: Cost of the model.
        title: Heading of the page and the figure.
        facts: Properties of the report (recipe, corpus, split ...), name to value.
        utterances: Utterances shown over time.
        training: Routing over the epochs of training.
        layers: Comparison of all sparse layers of an encoder.
    """
    adjusted, credit = specialisation.adjusted_weights, specialisation.credit
    phonemes = specialisation.adjusted_phonemes
    return RoutingDocument(
        version=2,
        title=title,
        facts=dict(facts),
        unit=report.unit,
        num_rows=int(report.rows.sum()),
        num_utterances=report.num_utterances,
        speakers=list(report.speakers),
        experts=list(report.experts),
        phonemes=list(report.phonemes),
        weights=report.weights.tolist(),
        counts=Counts(rows=report.rows.tolist(), utterances=report.utterances.tolist()),
        most_used=[report.experts[best] for best in report.most_used],
        effective_experts=report.effective_experts.tolist(),
        effective_per_row=report.effective_per_row.tolist(),
        own_share=list(report.own_share),
        borrowed_from=[
            None if lender is None else report.experts[lender] for lender in report.borrowed_from
        ],
        blended=list(report.blended),
        serving=list(report.serving),
        measures=measure(report),
        load=report.load.tolist(),
        users=[[report.speakers[user] for user in users] for users in report.users],
        dead=[report.experts[expert] for expert in report.dead],
        phoneme_weights=report.phoneme_weights.tolist(),
        phoneme_counts=Counts(
            rows=report.phoneme_rows.tolist(), utterances=report.phoneme_utterances.tolist()
        ),
        speaker_phoneme_weights=[
            _null_where_nan(speaker) for speaker in report.speaker_phoneme_weights
        ],
        speaker_phoneme_rows=report.speaker_phoneme_rows.tolist(),
        weight_intervals=specialisation.weight_intervals.round(6).tolist(),
        adjusted_weights=None if adjusted is None else adjusted.round(6).tolist(),
        adjusted_phonemes=None if phonemes is None else list(phonemes),
        clustering=specialisation.clustering,
        mixing=list(specialisation.mixing),
        tests=[PermutationTest.model_validate(test) for test in specialisation.tests],
        edges=specialisation.edges,
        correctness=specialisation.correctness,
        contribution=Contribution(
            credit=None if credit is None else _null_where_nan(credit),
            base_error_rate=ablations.base_error_rate,
            removal=ablations.removal_of(report.speakers),
            uniform=ablations.uniform,
            removal_utterances=ablations.num_utterances,
        ),
        utterances=list(utterances),
        training=training,
        layers=layers,
        cost=Cost.model_validate(cost),
        missing=[],
        verdict=[],
    )


def _null_where_nan(weights: Floats) -> list[list[float] | None]:
    """Rows of weights to six decimals; None for a row of NaN."""
    return [None if np.isnan(row[0]) else row.tolist() for row in np.round(weights, 6)]


def report_of(document: RoutingDocument) -> RoutingReport:
    """Mean weights and counts of a document: what ``build_document`` was given."""
    missing = [np.nan] * len(document.experts)
    by_phoneme = [
        [missing if row is None else row for row in speaker]
        for speaker in document.speaker_phoneme_weights
    ]
    shape = len(document.speakers), len(document.phonemes), len(document.experts)
    return RoutingReport(
        unit=document.unit,
        experts=tuple(document.experts),
        speakers=tuple(document.speakers),
        phonemes=tuple(document.phonemes),
        num_utterances=document.num_utterances,
        weights=np.array(document.weights),
        rows=np.array(document.counts.rows),
        utterances=np.array(document.counts.utterances),
        effective_experts=np.array(document.effective_experts),
        effective_per_row=np.array(document.effective_per_row),
        load=np.array(document.load),
        phoneme_weights=np.array(document.phoneme_weights).reshape(shape[1:]),
        phoneme_rows=np.array(document.phoneme_counts.rows),
        phoneme_utterances=np.array(document.phoneme_counts.utterances),
        speaker_phoneme_weights=np.array(by_phoneme).reshape(shape),
        speaker_phoneme_rows=np.array(document.speaker_phoneme_rows).reshape(shape[:2]),
    )
