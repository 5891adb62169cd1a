"""Text of a comparison: its verdict, and a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from phoneme_moe.report.compare.document import (
    Agreement,
    ComparisonDocument,
    ErrorRates,
    ExpertMatching,
    SpeakerErrorRates,
    SpeakerRouting,
    SplitErrorRates,
)
from phoneme_moe.report.compare.matching import SAME
from phoneme_moe.report.number_format import (
    is_or_are,
    names,
    p_value,
    percent,
    points,
    points_range,
    probability,
)
from phoneme_moe.system.terminal import printable

#: A change of routing below this is not mentioned.
_MOVED = 0.05
#: Number of speakers in the table: those that change most.
_SHOWN = 8


def verdict(document: ComparisonDocument) -> list[str]:
    """Summarises the comparison in sentences, the most important first.

    Args:
        document: The comparison; its field ``verdict`` is ignored.

    Returns:
        One to seven sentences.
    """
    rates, sentences = document.error_rate, list[str]()
    if rates is not None:
        sentences += [_overall(rates), _corpora(rates), _speakers(rates)]
    if document.matching and document.agreement and document.routing_by_speaker:
        sentences += [
            _agreement(document.agreement, document.unit),
            _partners(document.matching),
            _moved(document.routing_by_speaker),
        ]
    return [sentence for sentence in sentences if sentence]


def measure_name(rates: SplitErrorRates) -> str:
    """``PER`` of utterances, ``error rate`` of tokens."""
    return "PER" if rates.measure == "per" else "error rate"


def _overall(rates: SplitErrorRates) -> str:
    name, a, b = measure_name(rates), percent(rates.a, 2), percent(rates.b, 2)
    if rates.identical == rates.utterances:
        return f"Both runs have the same hypothesis for every utterance: {name} {a}."
    if rates.better + rates.worse == 0:
        return f"Both runs make the same number of errors in every utterance: {name} {a}."
    both = f"{a} with A, {b} with B"
    change = (
        f"{points(rates.difference, 2)} points (95 % interval "
        f"{points_range(*rates.interval, 2)}, {p_value(rates.p)})"
    )
    if rates.p > 0.05:
        return f"No significant difference in {name}: {both}; {change}."
    better = "fewer" if rates.difference < 0 else "more"
    return f"B makes {better} errors than A: {name} {both}; {change}."


def _corpora(rates: SplitErrorRates) -> str:
    if rates.better + rates.worse == 0 or not rates.by_corpus:
        return ""
    described = [
        f"{one.corpus} {percent(one.a, 1)} and {percent(one.b, 1)} ({points(one.difference, 1)} "
        f"points, {p_value(one.p)})"
        for one in rates.by_corpus
    ]
    return f"By corpus: {'; '.join(described)}."


def _speakers(rates: SplitErrorRates) -> str:
    by_speaker = rates.by_speaker
    if len(by_speaker) < 2 or rates.better + rates.worse == 0:
        return ""
    significant = sorted(
        (one for one in by_speaker if one.significant), key=lambda one: one.difference
    )
    if not significant:
        return f"The change is significant for none of {len(by_speaker)} speakers (q > 0.05)."
    clauses = []
    for word, chosen in (
        ("fewer", [one for one in significant if one.difference < 0]),
        ("more", [one for one in reversed(significant) if one.difference > 0]),
    ):
        if chosen:
            listed = [f"{one.speaker} ({points(one.difference, 2)})" for one in chosen]
            clauses.append(f"{word} errors for {names(listed, 3)}")
    return f"Significant by speaker (q ≤ 0.05): {'; '.join(clauses)}."


def _agreement(agreement: Agreement, unit: str) -> str:
    weight, first = agreement.measures[:2]
    if weight.value > 1 - 5e-4 and first.value > 1 - 5e-4:
        return f"With experts matched, both runs route every {unit} the same way."
    sentence = (
        f"With experts matched, the runs put {percent(weight.value)} of the weight on the same "
        f"experts in the same {unit}"
    )
    if weight.chance is None or weight.p is None:
        return f"{sentence}; with one utterance, chance cannot be estimated."
    beyond = "beyond chance" if weight.p <= 0.05 else "no more than chance"
    p = p_value(weight.p, agreement.shuffles)
    sentence += f", {beyond} ({percent(weight.chance)} with utterances shuffled, {p})"
    if weight.speaker_chance is not None and weight.p <= 0.05:
        # How much of the agreement beyond chance is due to the speaker.
        part = (weight.speaker_chance - weight.chance) / max(weight.value - weight.chance, 1e-9)
        share = percent(min(1.0, max(0.0, part)))
        sentence += f"; the speaker's identity explains {share} of the agreement beyond chance"
    return f"{sentence}."


def _partners(matching: ExpertMatching) -> str:
    pairs = matching.pairs
    close = [pair for pair in pairs if pair.common >= SAME]
    clauses = [
        f"{len(close)} of {len(pairs)} matched pairs of experts have at least {percent(SAME)} of "
        "their weight in common"
    ]
    in_both = set(matching.experts_a) & set(matching.experts_b)
    # Numbered experts are not listed: that expert_3 matches expert_5 is uninformative.
    renamed = [
        f"{pair.a} of A is matched with {pair.b} of B"
        for pair in close
        if pair.a != pair.b and pair.a in in_both and not pair.a.startswith("expert_")
    ]
    clauses += [names(renamed, 2)] if renamed else []
    for letter, unmatched in (("A", matching.unmatched_a), ("B", matching.unmatched_b)):
        used = [one.expert for one in unmatched if one.load > 0]
        unused = [one.expert for one in unmatched if one.load <= 0]
        if used:
            verb = "has" if len(used) == 1 else "have"
            clauses.append(f"{names(used, 3)} of {letter} {verb} no partner")
        if unused:
            clauses.append(f"{names(unused, 3)} of {letter} {is_or_are(unused)} unused")
    return f"{'; '.join(clauses)}."


def _moved(by_speaker: Sequence[SpeakerRouting]) -> str:
    moved = [one for one in by_speaker if one.significant and one.distance >= _MOVED]
    if not moved:
        return f"No speaker’s mean weights change significantly by {percent(_MOVED)} or more."
    moved.sort(key=lambda one: -one.distance)
    listed = [f"{one.speaker} ({percent(one.distance)})" for one in moved]
    return (
        f"The mean weights of {len(moved)} of {len(by_speaker)} speakers change by at least "
        f"{percent(_MOVED)}, most for {names(listed[:2])}."
    )


def comparison_text(document: ComparisonDocument) -> RenderableType:
    """Formats the verdict and the speakers that change most for a terminal.

    Args:
        document: The comparison.

    Returns:
        A ``rich`` renderable, about 30 lines of 80 columns.
    """
    subject = f"{document.num_utterances:,} utterances of {document.corpus} {document.split}"
    return Group(
        Text(f"A {document.a.name}, B {document.b.name}", style="bold"),
        Text(subject, style="dim"),
        Text(),
        Text(" ".join([*document.verdict, *document.missing])),
        _table(document),
    )


def _table(document: ComparisonDocument) -> Table:
    rates, routing = document.error_rate, document.routing_by_speaker
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("speaker", overflow="ellipsis", no_wrap=True, max_width=20)
    if rates is not None:
        short = "PER" if rates.measure == "per" else "error"
        for heading in (f"A {short} %", "B", "change", "q"):
            table.add_column(heading, justify="right", no_wrap=True)
    if routing is not None:
        for heading in ("routing moved %", "q"):
            table.add_column(heading, justify="right", no_wrap=True)
    by_name: dict[str, list[SpeakerErrorRates | SpeakerRouting]] = {}
    changes: list[SpeakerErrorRates | SpeakerRouting] = []
    changes += [*(rates.by_speaker if rates else []), *(routing or [])]
    for one in changes:
        by_name.setdefault(one.speaker, []).append(one)
    ordered = sorted(by_name, key=lambda name: -max(map(_size, by_name[name])))
    for name in ordered[:_SHOWN]:
        cells: list[Text] = []
        for one in by_name[name]:
            style, q = "bold" if one.significant else "", probability(one.q)
            if isinstance(one, SpeakerErrorRates):
                cells += _rate_cells(one, style, q)
            else:
                cells += [Text(f"{100 * one.distance:.0f}", style), Text(q, style)]
        table.add_row(Text(printable(name)), *cells)
    if len(ordered) > _SHOWN:
        table.caption = f"{_SHOWN} of {len(ordered)} speakers: those that change most."
        table.caption_justify = "left"
    if rates is not None:
        table.add_section()
        style = "bold" if rates.p <= 0.05 else ""
        cells = _rate_cells(rates, style, f"p {probability(rates.p)}")
        table.add_row(Text("all"), *cells, *[Text()] * (2 if routing is not None else 0))
    return table


def _size(one: SpeakerErrorRates | SpeakerRouting) -> float:
    """Sort key: size of the change, with significant changes first."""
    change = one.difference if isinstance(one, SpeakerErrorRates) else one.distance
    return (10.0 if one.significant else 0.0) + abs(change)


def _rate_cells(one: ErrorRates, style: str, last: str) -> list[Text]:
    change = Text(points(one.difference, 2), style)
    return [Text(f"{100 * one.a:.2f}"), Text(f"{100 * one.b:.2f}"), change, Text(last, style)]
