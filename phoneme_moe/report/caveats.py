"""Sentences on what a report lacks, and why."""

from __future__ import annotations

from collections.abc import Sequence

from phoneme_moe.corpora import UNLABELLED
from phoneme_moe.data.examples import Example
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.document import RoutingDocument


def caveats(
    document: RoutingDocument,
    recognizer: Recognizer,
    examples: Sequence[Example],
    refusal: str | None,
) -> list[str]:
    """Lists what the report lacks, one sentence each.

    Args:
        document: The report so far.
        recognizer: The model.
        examples: Examples of the split.
        refusal: Reason why experts could not be ablated; None if they were.
    """
    return [
        *_routing(document, refusal),
        *_speakers(document.speakers),
        *_phonemes(document, recognizer, examples),
        *_sections(document),
    ]


def _routing(document: RoutingDocument, refusal: str | None) -> list[str]:
    if len(document.experts) < 2:
        return [
            "The run has one expert and no gate, so there is no routing: the report has only "
            "the model's cost and utterances over time."
        ]
    return [] if refusal is None else [f"Experts were not ablated: {refusal}."]


def _speakers(speakers: Sequence[str]) -> list[str]:
    without = "so there is no clustering and no test of speakers."
    if speakers == [UNLABELLED]:
        return [f"The corpus has no speaker labels and is treated as a single speaker, {without}"]
    if len(speakers) == 1:
        return [f"There is only one speaker, {speakers[0]}, {without}"]
    return []


def _phonemes(
    document: RoutingDocument, recognizer: Recognizer, examples: Sequence[Example]
) -> list[str]:
    lines = []
    if not document.phonemes:
        lines.append(
            f"No {document.unit} has a phoneme label: there are no sections on phonemes and no "
            "weights adjusted for the phoneme mix."
        )
    elif document.adjusted_weights is None and len(document.speakers) > 1:
        lines.append(
            "No phoneme occurs for every speaker, so weights are not adjusted for the phoneme mix."
        )
    unlabelled = sum(not example.phonemes for example in examples)
    if unlabelled:
        lines.append(
            f"{unlabelled} of {len(examples)} utterances have no phonemes; they count for speakers "
            "only."
        )
    unknown = sorted({p for e in examples for p in e.phonemes} - set(recognizer.phonemes.symbols))
    if unknown:
        lines.append(f"Phonemes unknown to the model: {', '.join(unknown)}.")
    return lines


def _sections(document: RoutingDocument) -> list[str]:
    lines = []
    routed = len(document.experts) > 1
    if routed and document.contribution.credit is None:
        lines.append(
            "Experts inside an encoder have no posteriors, so credit for the spoken phonemes is "
            "undefined; ablation shows what each contributes."
        )
    if routed and document.training is None:
        lines.append(
            "The run folder has no metrics.csv with loads, so routing over training is not shown."
        )
    if not document.utterances:
        lines.append("No utterance could be shown over time.")
    return lines
