"""What a report does not have, and why: one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phoneme_moe.corpora import UNLABELLED
from phoneme_moe.data.examples import Example
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.report.contribution import Contribution


def what_is_missing(
    document: Mapping[str, Any],
    recognizer: Recognizer,
    contribution: Contribution,
    examples: Sequence[Example],
) -> list[str]:
    """Sentences for a person.

    Args:
        document: The report so far.
        recognizer: The model.
        contribution: Knows why experts could not be removed.
        examples: Of the split.
    """
    unit, speakers = document["unit"], document["speakers"]
    lines = []
    if len(document["experts"]) < 2:
        lines.append(
            "This run has one expert and no gate: there is no routing. What is left is the model's "
            "cost, and its utterances in time."
        )
    elif contribution.refusal is not None:
        lines.append(f"What each expert is worth was not asked: {contribution.refusal}.")
    if speakers == [UNLABELLED]:
        lines.append(
            "The corpus does not say who speaks: all of it counts as one speaker, with no "
            "clustering and no test of speakers."
        )
    elif len(speakers) == 1:
        lines.append(
            f"There is one speaker only, {speakers[0]}: nobody to compare with, so no clustering "
            "and no test of speakers."
        )
    if not document["phonemes"]:
        lines.append(
            f"No {unit} has a phoneme: the sections on phonemes, and the adjustment for what was "
            "said, are left out."
        )
    elif document["adjusted_weights"] is None and len(speakers) > 1:
        lines.append(
            "No phoneme was said by all speakers: weights are not adjusted for what was said."
        )
    silent = sum(not example.phonemes for example in examples)
    if silent:
        lines.append(
            f"{silent} of {len(examples)} utterances have no phonemes; they count for speakers "
            "only."
        )
    unknown = sorted({p for e in examples for p in e.phonemes} - set(recognizer.phonemes.symbols))
    if unknown:
        lines.append(f"The model does not know the phonemes {', '.join(unknown)}.")
    if document["contribution"]["credit"] is None and len(document["experts"]) > 1:
        lines.append(
            "Experts inside an encoder have no posteriors of their own, so no credit for right "
            "phonemes; what each is worth shows when it is removed."
        )
    if document["training"] is None and len(document["experts"]) > 1:
        lines.append("The run folder has no metrics.csv with loads: nothing across training.")
    if not document["utterances"]:
        lines.append("No utterance could be shown in time.")
    return lines
