"""A report in plain words: who owns an expert, who borrows, who is a blend, what is unused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.statistics import MAIN_SHARE, RoutingReport, effective_number

#: Names in one sentence before "and 12 more".
_NAMED = 6
#: Experts named as parts of a blend, and the least weight worth a name.
_PARTS, _PART = 3, 0.1


def verdict(report: RoutingReport, document: Mapping[str, Any] | None = None) -> list[str]:
    """What the numbers say, one sentence each, the most telling first.

    Args:
        report: The means of all speakers.
        document: The rest of the report (``report.document``): tests, and what experts are worth.

    Returns:
        One to nine sentences.
    """
    if len(report.experts) == 1:
        return [f"There is one expert, {report.experts[0]}, and it answers every {report.unit}."]
    sentences = [
        _owners(report),
        _borrowers(report),
        _blends(report),
        _guests(report),
        _dead(report),
        _mixing(report),
    ]
    if document is not None:
        sentences += [_significance(document), _worth(report, document)]
    return [sentence for sentence in sentences if sentence]


def percent(share: float) -> str:
    """A share in 0..1 as whole per cent, without calling something small nothing."""
    if 0.0005 <= share < 0.005:
        return "<1 %"
    return f"{100 * share:.0f} %"


def names(items: Sequence[str], limit: int = _NAMED) -> str:
    """``a``, ``a and b``, ``a, b and c``, or the first few ``and 12 more``."""
    if len(items) > limit + 1:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def _owners(report: RoutingReport) -> str:
    shares = report.own_share
    if all(share is None for share in shares):
        return "No expert bears a speaker's name, so no speaker owns one."
    owners = [i for i, share in enumerate(shares) if share is not None and share >= MAIN_SHARE]
    if not owners:
        return "No speaker is served mainly by the expert that bears its name."
    who = names([report.speakers[i] for i in owners])
    least, most = min(shares[i] or 0.0 for i in owners), max(shares[i] or 0.0 for i in owners)
    weight = percent(most) if percent(least) == percent(most) else _range(least, most)
    own = "its own expert" if len(owners) == 1 else "their own experts"
    return f"{who} {_verb(owners)} served mainly by {own} ({weight} of the weight)."


def _borrowers(report: RoutingReport) -> str:
    borrowers = [i for i, lender in enumerate(report.borrowed_from) if lender is not None]
    told = [
        f"{report.speakers[i]} from {_parts(report, i, lenders_only=True)}"
        f" (own expert: {percent(report.own_share[i] or 0.0)})"
        for i in borrowers
    ]
    if len(borrowers) == 1:
        return f"One speaker with an expert of its own borrows instead: {told[0]}."
    return _told("speakers with an expert of their own borrow instead", told)


def _blends(report: RoutingReport) -> str:
    """Blends that are not already told as loans."""
    told = [
        f"{speaker} ({_parts(report, i)})"
        for i, speaker in enumerate(report.speakers)
        if report.blended[i] and report.borrowed_from[i] is None
    ]
    if len(told) == 1:
        return f"One speaker is a blend, no expert bearing half of its weight: {told[0]}."
    return _told("speakers are blends, no expert bearing half of the weight", told)


def _guests(report: RoutingReport) -> str:
    """Speakers without an expert of their own that lean on one expert."""
    told = [
        f"{speaker} on {report.experts[report.most_used[i]]} {percent(report.weights[i].max())}"
        for i, speaker in enumerate(report.speakers)
        if report.own[i] is None and not report.blended[i]
    ]
    if len(told) == 1:
        return f"One speaker without an expert of its own leans on one: {told[0]}."
    return _told("speakers without an expert of their own each lean on one", told)


def _dead(report: RoutingReport) -> str:
    if not report.dead:
        return ""
    who = names([report.experts[i] for i in report.dead])
    noun = "Expert" if len(report.dead) == 1 else "Experts"
    return (
        f"{noun} {who} {_verb(report.dead)} dead: less than a tenth of an equal share of the load."
    )


def _significance(document: Mapping[str, Any]) -> str:
    """Whether speakers differ by more than what they say."""
    tests = {test["name"]: test for test in document["tests"] if test["scope"] is None}
    plain = tests.get("speaker_information")
    beyond = tests.get("speaker_beyond_phonemes")
    if plain is None:
        return ""
    if not plain["significant"]:
        return (
            f"Who speaks makes no difference that chance would not make: {_bits(plain)} of "
            f"information about the speaker."
        )
    told = f"Routing tells speakers apart: {_bits(plain)}"
    phoneme = tests.get("phoneme_information")
    if phoneme is not None and phoneme["significant"]:
        word = "less" if phoneme["corrected"] < plain["corrected"] else "more"
        told += f"; phonemes {word} so ({max(phoneme['corrected'], 0):.2f})"
    elif phoneme is not None:
        told += "; phonemes no more than chance"
    if beyond is None:
        return told + "."
    if not beyond["significant"]:
        return f"{told}; but not beyond what the speakers happened to say ({_chance(beyond)})."
    return (
        f"{told}; {max(beyond['corrected'], 0):.2f} bits of it cannot be put down to what they "
        f"said ({_chance(beyond)})."
    )


def _bits(test: Mapping[str, Any]) -> str:
    return f"{max(test['corrected'], 0):.2f} bits above chance ({_chance(test)})"


def _chance(test: Mapping[str, Any]) -> str:
    return f"p = {test['p']:.2g}" if test["p"] >= 0.001 else "p < 0.001"


def _worth(report: RoutingReport, document: Mapping[str, Any]) -> str:
    """What routing is worth in errors."""
    contribution = document["contribution"]
    if contribution["removal"] is None:
        return ""
    told = []
    if contribution["uniform"] is not None:
        low, high = (100 * value for value in contribution["uniform"]["interval"])
        told.append(
            f"Asking all experts alike would change the error rate of "
            f"{100 * contribution['base_error_rate']:.1f} % by "
            f"{100 * contribution['uniform']['change']:+.1f} points ({low:+.1f} to {high:+.1f})"
        )
    worst = max(contribution["removal"], key=lambda own: own["change"])
    sure = [own for own in contribution["removal"] if own["interval"][0] > 0]
    if not sure:
        told.append("no single expert would be missed for certain")
    else:
        low, high = (100 * value for value in worst["interval"])
        told.append(
            f"{len(sure)} of {len(report.experts)} experts would be missed, most of all "
            f"{report.experts[worst['expert']]}: {100 * worst['change']:+.1f} points without it "
            f"({low:+.1f} to {high:+.1f})"
        )
    text = "; ".join(told)
    return f"{text[0].upper()}{text[1:]}."


def _mixing(report: RoutingReport) -> str:
    """Whether the experts mix inside a row or take turns over the rows."""
    total = float(np.median(report.effective_experts))
    inside = float(np.median(report.effective_per_row))
    overall = float(effective_number(report.load))
    who = report.speakers[0] if len(report.speakers) == 1 else "The median speaker"
    return (
        f"{who} uses {total:.1f} experts in effect, {inside:.1f} of them at once "
        f"within one {report.unit}; the whole split uses {overall:.1f} of {len(report.experts)}."
    )


def _told(claim: str, cases: Sequence[str]) -> str:
    """A claim about so many, with the first few cases; nothing where there is no case."""
    if not cases:
        return ""
    limit = 4 if len(cases) <= 4 else 2
    more = f"; and {len(cases) - limit} more" if len(cases) > limit else ""
    words = ("Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    count = words[len(cases) - 2] if 2 <= len(cases) <= 9 else str(len(cases))
    return f"{count} {claim}: {'; '.join(cases[:limit])}{more}."


def _parts(report: RoutingReport, speaker: int, *, lenders_only: bool = False) -> str:
    """The experts that serve one speaker, heaviest first: ``bob 74 % and ann 12 %``."""
    weights = report.weights[speaker]
    heaviest = [
        expert
        for expert in np.argsort(-weights, kind="stable").tolist()
        if not (lenders_only and expert == report.own[speaker])
    ][:_PARTS]
    told = [i for rank, i in enumerate(heaviest) if rank == 0 or weights[i] >= _PART]
    return names([f"{report.experts[i]} {percent(weights[i])}" for i in told])


def _range(least: float, most: float) -> str:
    return f"{100 * least:.0f}–{100 * most:.0f} %"


def _verb(items: Sequence[int]) -> str:
    return "is" if len(items) == 1 else "are"
