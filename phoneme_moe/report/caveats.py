"""What a report does not have, and why: one sentence each."""

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
    """Sentences for a person.

    Args:
        document: The report so far.
        recognizer: The model.
        examples: Of the split.
        refusal: Why experts could not be ablated; None where they were.
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
            "The run has one expert and no gate, so there is no routing: the report is left with "
            "the model's cost and utterances in time."
        ]
    return [] if refusal is None else [f"Experts were not ablated: {refusal}."]


def _speakers(speakers: Sequence[str]) -> list[str]:
    without = "so there is no clustering and no test of speakers."
    if speakers == [UNLABELLED]:
        return [f"The corpus has no speaker labels: all of it counts as one speaker, {without}"]
    if len(speakers) == 1:
        return [f"There is only one speaker, {speakers[0]}, {without}"]
    return []


def _phonemes(
    document: RoutingDocument, recognizer: Recognizer, examples: Sequence[Example]
) -> list[str]:
    lines = []
    if not document.phonemes:
        lines.append(
            f"No {document.unit} has a phoneme: sections on phonemes, and weights adjusted for the "
            "phoneme mix, are left out."
        )
    elif document.adjusted_weights is None and len(document.speakers) > 1:
        lines.append(
            "No phoneme occurs for all speakers: weights are not adjusted for the phoneme mix."
        )
    unlabelled = sum(not example.phonemes for example in examples)
    if unlabelled:
        lines.append(
            f"{unlabelled} of {len(examples)} utterances have no phonemes; they count for speakers "
            "only."
        )
    unknown = sorted({p for e in examples for p in e.phonemes} - set(recognizer.phonemes.symbols))
    if unknown:
        lines.append(f"Phonemes that the model does not have: {', '.join(unknown)}.")
    return lines


def _sections(document: RoutingDocument) -> list[str]:
    lines = []
    routed = len(document.experts) > 1
    if routed and document.contribution.credit is None:
        lines.append(
            "Experts inside an encoder have no posteriors, so none gets credit for the spoken "
            "phonemes; ablation shows what each contributes."
        )
    if routed and document.training is None:
        lines.append(
            "The run folder has no metrics.csv with loads, so routing is not shown over training."
        )
    if not document.utterances:
        lines.append("No utterance could be shown in time.")
    return lines
