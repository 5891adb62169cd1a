"""The verdict of a report in sentences: main experts, dead experts, information, ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, assert_never, get_args

import numpy as np

from phoneme_moe.report.effect_size import possible_bits
from phoneme_moe.report.number_format import (
    is_or_are,
    names,
    number,
    p_value,
    percent,
    percent_range,
    points,
    points_range,
    told_apart,
)
from phoneme_moe.report.serving import Serving
from phoneme_moe.report.statistics import RoutingReport, effective_number

if TYPE_CHECKING:
    from phoneme_moe.report.document import RoutingDocument
    from phoneme_moe.report.document_parts import Contribution, PermutationTest

#: Number of experts named as parts of a blend, and the smallest weight named.
_PARTS, _PART = 3, 0.1
_WORDS = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def verdict(report: RoutingReport, document: RoutingDocument | None = None) -> list[str]:
    """Summarises the report in sentences, the most important first.

    Args:
        report: Statistics of all speakers, or of other labels (``RoutingTable.label_name``).
        document: The report's document, for tests and ablations.

    Returns:
        One to ten sentences.
    """
    if len(report.experts) == 1:
        return [f"There is one expert, {report.experts[0]}, so there is no routing."]
    sentences = [
        *_servings(report),
        _dead(report),
        _effective_numbers(report),
    ]
    if document is not None:
        sentences += [_information(document), _ablations(report, document)]
    return [sentence for sentence in sentences if sentence]


def _servings(report: RoutingReport) -> list[str]:
    """One sentence for each case of ``report.serving`` that occurs; each speaker is in one."""
    cases: dict[Serving, list[int]] = {case: [] for case in get_args(Serving)}
    for speaker, case in enumerate(report.serving):
        cases[case].append(speaker)
    label = report.label_name
    if all(own is None for own in report.own_expert):
        first = [f"Experts are not named after {label}s."] if label == "speaker" else []
    else:
        first = [] if cases["own"] else [f"No {label} is served mainly by its own expert."]
    return first + [
        _serving_sentence(report, case, speakers) for case, speakers in cases.items() if speakers
    ]


def _serving_sentence(report: RoutingReport, case: Serving, speakers: Sequence[int]) -> str:
    """The sentence of the speakers of one case."""
    alone = len(speakers) == 1
    match case:
        case "own":
            shares = [report.own_share[i] or 0.0 for i in speakers]
            expert = "its own expert" if alone else "their own experts"
            return (
                f"{names([_label(report, i) for i in speakers])} {is_or_are(speakers)} served "
                f"mainly by {expert} ({percent_range(min(shares), max(shares))} of the weight)."
            )
        case "other":
            verb = "has its own expert but is" if alone else "have their own experts but are"
            claim = f"{verb} routed mainly to others"
            described = [
                f"{_label(report, i)} to {_parts(report, i, without=report.own_expert[i])} "
                f"(own expert: {percent(report.own_share[i] or 0.0)})"
                for i in speakers
            ]
        case "blend":
            verb = "is a blend" if alone else "are blends"
            claim = f"{verb} of their own and other experts, none with half of the weight"
            if alone:
                claim = claim.replace("their", "its")
            described = [f"{_label(report, i)} ({_parts(report, i)})" for i in speakers]
        case "shared":
            pronoun, verb = ("its", "is") if alone else ("their", "are each")
            some_own = any(expert is not None for expert in report.own_expert)
            without = f"without an expert of {pronoun} own " if some_own else ""
            claim = f"{without}{verb} served mainly by one expert"
            described = [
                f"{_label(report, i)} by {report.experts[report.most_used[i]]} "
                f"({percent(report.weights[i].max())})"
                for i in speakers
            ]
        case "none":
            claim = f"{'has' if alone else 'have'} no main expert (none has half of the weight)"
            described = [f"{_label(report, i)} ({_parts(report, i)})" for i in speakers]
        case _:
            assert_never(case)
    return _counted(report, claim, described)


def _dead(report: RoutingReport) -> str:
    if not report.dead:
        return ""
    experts = [report.experts[i] for i in report.dead]
    noun = "Expert" if len(experts) == 1 else "Experts"
    return (
        f"{noun} {names(experts)} {is_or_are(experts)} dead: load below a tenth of an equal share."
    )


def _effective_numbers(report: RoutingReport) -> str:
    """Effective number of experts over all rows and within a row."""
    label = report.label_name
    total = float(np.median(report.effective_experts))
    inside = float(np.median(report.effective_per_row))
    overall = float(effective_number(report.load))
    subject = _label(report, 0) if len(report.speakers) == 1 else f"the median {label}"
    return (
        f"Effective number of experts (of {len(report.experts)}): {total:.1f} for {subject}, "
        f"{inside:.1f} per {report.unit}, {overall:.1f} over all {report.unit}s."
    )


def _information(document: RoutingDocument) -> str:
    """Mutual information between routing and speaker, with and without phonemes."""
    tests = {test.name: test for test in document.tests if test.scope is None}
    speaker = tests.get("speaker_information")
    if speaker is None:
        return ""
    possible = possible_bits(
        document.counts.rows, document.speaker_phoneme_rows, len(document.experts)
    )
    if not speaker.significant:
        return (
            "Routing does not depend on the speaker more than by chance: mutual information "
            f"above chance {_bits(speaker, possible)}."
        )
    text = (
        f"Mutual information between routing and speaker, above chance: {_bits(speaker, possible)}"
    )
    for test, relation in (
        (tests.get("speaker_beyond_phonemes"), "given the phoneme"),
        (tests.get("phoneme_information"), "between routing and phoneme"),
    ):
        if test is not None:
            chance = f"no more than chance ({p_value(test.p, test.draws)})"
            text += f"; {relation}: {_bits(test, possible) if test.significant else chance}"
    return text + "."


def _bits(test: PermutationTest, possible: Mapping[str, float]) -> str:
    """Information with its effect size and p: ``0.60 of 2.58 bits (23 %, p = 0.020)``."""
    bits, most = max(test.corrected, 0.0), possible[test.name]
    share = percent(bits / most if most else 0.0)
    return f"{number(bits)} of {number(most)} bits ({share}, {p_value(test.p, test.draws)})"


def _ablations(report: RoutingReport, document: RoutingDocument) -> str:
    """Effect of the routing and of each expert on the error rate."""
    contribution = document.contribution
    if contribution.removal is None:
        return ""
    clauses = [_uniform(contribution, document.facts.get("layer"))]
    worst = max(contribution.removal, key=lambda removal: removal.change)
    harmful = sum(removal.interval[0] > 0 for removal in contribution.removal)
    if harmful:
        clauses.append(
            f"ablating {report.experts[worst.expert]} costs most, {points(worst.change)} points "
            f"({points_range(*worst.interval)})"
        )
        clauses.append(
            f"{harmful} of {len(report.experts)} single ablations "
            f"{'raises' if harmful == 1 else 'raise'} it significantly"
        )
    else:
        clauses.append("ablating any single expert does not raise it significantly")
    if contribution.removal_utterances < report.num_utterances:
        clauses.append(
            f"changes measured on {contribution.removal_utterances:,} of "
            f"{report.num_utterances:,} utterances"
        )
    return "; ".join(clauses) + "."


def _uniform(contribution: Contribution, layer: str | None) -> str:
    """The error rate with uniform weights, or if not measured, as it is."""
    base, uniform = contribution.base_error_rate, contribution.uniform
    if uniform is None:
        return f"The error rate is {percent(base, 1)}"
    before, after = told_apart(base, base + uniform.change, 1)
    low, high = uniform.interval
    if before == after:
        course = f"stay at {before}"
    elif low <= 0 <= high:
        course = f"not change significantly, from {before} to {after}"
    else:
        course = f"{'rise' if uniform.change > 0 else 'fall'} from {before} to {after}"
    weights = "uniform gate weights" if layer is None else f"uniform weights in {layer}"
    return (
        f"With {weights} the error rate would {course} (95 % interval "
        f"{points_range(*uniform.interval)} points)"
    )


def _counted(report: RoutingReport, claim: str, cases: Sequence[str]) -> str:
    """A claim about a number of speakers, naming the first few."""
    limit = 4 if len(cases) <= 4 else 2
    more = f"; and {len(cases) - limit} more" if len(cases) > limit else ""
    count = _WORDS[len(cases) - 1] if len(cases) <= len(_WORDS) else f"{len(cases):,}"
    noun = report.label_name if len(cases) == 1 else f"{report.label_name}s"
    return f"{count} {noun} {claim}: {'; '.join(cases[:limit])}{more}."


def _label(report: RoutingReport, index: int) -> str:
    """``ann`` for a speaker; with the noun for other labels, such as ``digit 7``."""
    name = report.speakers[index]
    return name if report.label_name == "speaker" else f"{report.label_name} {name}"


def _parts(report: RoutingReport, speaker: int, without: int | None = None) -> str:
    """Experts of one speaker, greatest weight first: ``bob 74 % and ann 12 %``."""
    weights = report.weights[speaker]
    order = [expert for expert in np.argsort(-weights, kind="stable").tolist() if expert != without]
    parts = order[:1] + [expert for expert in order[1:_PARTS] if weights[expert] >= _PART]
    return names([f"{report.experts[expert]} {percent(weights[expert])}" for expert in parts])
