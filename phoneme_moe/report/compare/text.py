"""A comparison in words.

Reads the document that ``comparison.json`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phoneme_moe.report.compare.matching import SAME
from phoneme_moe.report.number_format import names, percent

#: A routing that moves less than this is not worth a sentence.
_MOVED = 0.05

Document = Mapping[str, Any]


def verdict(document: Document) -> list[str]:
    """What the comparison says, one sentence each, the most telling first.

    Args:
        document: All of it but the verdict.

    Returns:
        One to six sentences.
    """
    rates, matching = document["error_rate"], document["matching"]
    sentences = []
    if rates is not None:
        sentences += [_overall(rates), _speakers(rates)]
    if matching is not None:
        sentences += [
            _agreement(document),
            _partners(matching),
            _moved(document["routing_by_speaker"]),
        ]
    return [sentence for sentence in sentences if sentence]


def measure_name(rates: Mapping[str, Any]) -> str:
    """``PER`` of utterances, ``error rate`` of tokens."""
    return "PER" if rates["measure"] == "per" else "error rate"


def points(difference: float) -> str:
    """A difference of error rates in per cent, signed, without a negative nothing."""
    return signed(100 * difference, 2) if abs(difference) >= 5e-5 else "0.00"


def signed(value: float, places: int = 0) -> str:
    """A number with its sign, a minus as long as the plus."""
    return f"{value:+.{places}f}".replace("-", "\u2212")


def probability(p: float) -> str:
    """``0.012``, or ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def _equal(p: float) -> str:
    told = probability(p)
    return f"p {told}" if told.startswith("<") else f"p = {told}"


def _overall(rates: Mapping[str, Any]) -> str:
    name, (low, high) = measure_name(rates), rates["interval"]
    both = f"{100 * rates['a']:.2f} % with A, {100 * rates['b']:.2f} % with B"
    if rates["identical"] == rates["utterances"]:
        return f"Both runs recognise the same in every utterance: {name} {100 * rates['a']:.2f} %."
    if rates["better"] + rates["worse"] == 0:
        return f"Both runs make as many errors in every utterance: {name} {100 * rates['a']:.2f} %."
    sure = (
        f"{points(rates['difference'])} points (95 % interval {points(low)} to {points(high)}, "
        f"{_equal(rates['p'])})"
    )
    if rates["p"] > 0.05:
        return f"No difference in {name} that stands: {both}; {sure}."
    better = "fewer" if rates["difference"] < 0 else "more"
    return f"B makes {better} errors than A: {name} {both}; {sure}."


def _speakers(rates: Mapping[str, Any]) -> str:
    by_speaker = rates["by_speaker"]
    if len(by_speaker) < 2 or rates["better"] + rates["worse"] == 0:
        return ""
    real = [one for one in by_speaker if one["significant"]]
    if not real:
        return f"Of {len(by_speaker)} speakers none gains or loses beyond chance (q > 0.05)."
    real.sort(key=lambda one: one["difference"])
    told = []
    for word, chosen in (
        ("fewer", [one for one in real if one["difference"] < 0]),
        ("more", [one for one in reversed(real) if one["difference"] > 0]),
    ):
        if chosen:
            who = [f"{one['speaker']} ({points(one['difference'])})" for one in chosen]
            told.append(f"{word} errors for {names(who, 3)}")
    return f"By speaker, beyond chance (q ≤ 0.05): {'; '.join(told)}."


def _agreement(document: Document) -> str:
    weight, first = document["agreement"]["measures"][:2]
    unit = document["unit"]
    if weight["value"] > 1 - 5e-4 and first["value"] > 1 - 5e-4:
        return f"With experts matched, both runs route every {unit} the same way."
    chance = weight["chance"]
    told = (
        f"With experts matched, the runs put {percent(weight['value'])} of the weight on the same "
        f"experts in the same {unit}"
    )
    if chance is None:
        return f"{told}; with one utterance there is no telling what chance would do."
    beyond = "beyond chance" if weight["p"] <= 0.05 else "no more than chance"
    told += f", {beyond} ({percent(chance)} with utterances shuffled, {_equal(weight['p'])})"
    within = weight["speaker_chance"]
    if within is not None and weight["p"] <= 0.05:
        # Most of the way beyond chance, or little of it, is knowing who speaks.
        part = (within - chance) / max(weight["value"] - chance, 1e-9)
        told += f"; knowing the speaker alone explains {percent(min(1.0, max(0.0, part)))} of that"
    return f"{told}."


def _partners(matching: Mapping[str, Any]) -> str:
    pairs = matching["pairs"]
    close = [pair for pair in pairs if pair["common"] >= SAME]
    told = (
        f"{len(close)} of {len(pairs)} pairs of experts do the same work (at least "
        f"{percent(SAME)} of their weight in common)"
    )
    alone = []
    known = set(matching["experts_a"]) & set(matching["experts_b"])
    # Numbers are no names: that expert_3 is another one now says nothing.
    renamed = [
        f"{pair['a']} of A is done by {pair['b']} of B"
        for pair in close
        if pair["a"] != pair["b"] and pair["a"] in known and not pair["a"].startswith("expert_")
    ]
    if renamed:
        alone.append(f"the work of {names(renamed, 2)}")
    for run in ("a", "b"):
        left = matching[f"unmatched_{run}"]
        asked = [one["expert"] for one in left if one["load"] > 0]
        idle = [one["expert"] for one in left if one["load"] <= 0]
        letter = run.upper()
        if asked:
            alone.append(f"{names(asked, 3)} of {letter} {_has(asked)} no partner")
        if idle:
            alone.append(f"{names(idle, 3)} of {letter} {_verb(idle)} never asked")
    return f"{'; '.join([told, *alone])}."


def _moved(by_speaker: Sequence[Mapping[str, Any]]) -> str:
    real = [one for one in by_speaker if one["significant"] and one["distance"] >= _MOVED]
    if not real:
        return f"No speaker’s mean routing moves by {percent(_MOVED)} of the weight beyond chance."
    real.sort(key=lambda one: -one["distance"])
    who = [f"{one['speaker']} ({percent(one['distance'])})" for one in real]
    return (
        f"The mean routing of {len(real)} of {len(by_speaker)} speakers moves by at least "
        f"{percent(_MOVED)} of the weight, most of all {names(who[:2])}."
    )


def _has(items: Sequence[str]) -> str:
    return "has" if len(items) == 1 else "have"


def _verb(items: Sequence[str]) -> str:
    return "is" if len(items) == 1 else "are"
