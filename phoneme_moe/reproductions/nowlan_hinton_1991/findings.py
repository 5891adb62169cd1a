"""Tables 2, 3 and 4 of 1991 with ours beside them, and what the paper says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.reproductions.experiment import Cell, Claim, Outcome, Table
from phoneme_moe.reproductions.nowlan_hinton_1991.jobs import CLUSTERS, job_key
from phoneme_moe.reproductions.nowlan_hinton_1991.published import (
    GROUPS,
    TESTING,
    TRAINING,
    Published,
)
from phoneme_moe.reproductions.nowlan_hinton_1991.systems import SYSTEMS
from phoneme_moe.reproductions.nowlan_hinton_1991.tokens import SIDES, tokens
from phoneme_moe.reproductions.statistics import Estimate, estimate


def conclude(results: Mapping[str, Any]) -> Outcome:
    """Tables and claims."""
    tables = _training(results), _groups(results), _testing(results)
    return Outcome(tables, tuple(_claims(results)))


def errors(results: Mapping[str, Any], name: str, side: str, table: int) -> list[float] | None:
    """Of every run, in per cent: training error for Table 2, test error for Table 4."""
    found = results.get(job_key(name, side, table))
    if found is None:
        return None
    runs: list[float] = found["train" if table == 2 else "test"]
    return runs


def shares(experts: Sequence[Sequence[int]]) -> dict[str, list[float]]:
    """How many of a group's speakers have its commonest expert, in per cent, by group and run.

    Args:
        experts: The expert of each speaker, in each run.
    """
    group = tokens().group
    found: dict[str, list[float]] = {}
    for letter in GROUPS:
        own = [np.array(run)[group == letter] for run in experts]
        found[letter] = [100 * float(np.bincount(run).max()) / len(run) for run in own]
    return found


def _cell(values: Sequence[float] | None) -> Estimate | None:
    return None if values is None else estimate(values)


def _text(published: Published | None) -> Cell:
    return None if published is None else str(published)


def _training(results: Mapping[str, Any]) -> Table:
    rows = [
        (
            title,
            str(TRAINING["mixture"][side]),
            _cell(errors(results, "mixture", side, 2)),
            str(TRAINING["net"][side]),
            _cell(errors(results, "net", side, 2)),
            *(_cell(errors(results, n, side, 2)) for n in SYSTEMS if n not in TRAINING),
        )
        for side, title in SIDES.items()
    ]
    return Table(
        "table_2",
        "Table 2: error on training tokens, all 75 speakers, in per cent",
        (
            "side input",
            "mixture, 1991",
            "mixture",
            "net, 1991",
            "net",
            "net in the manner of 1991",
            "mixture, sigma 0.25 throughout",
            "mixture, inputs in kHz",
        ),
        tuple(rows),
    )


def _groups(results: Mapping[str, Any]) -> Table:
    found = results[job_key("mixture", "speaker", 2)]
    by_group = shares(found["experts"])
    best = int(np.argmin(found["train"]))
    rows = [
        (name, published, estimate(by_group[letter]), by_group[letter][best])
        for letter, (name, published) in GROUPS.items()
    ]
    return Table(
        "table_3",
        "Table 3: speakers of a group that have its commonest expert, in per cent; the gate knows "
        "the speaker",
        ("group", "1991", "all runs", "the run with the least error"),
        tuple(rows),
    )


def _testing(results: Mapping[str, Any]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for side, title in SIDES.items():
        row: list[Cell] = [title]
        for name in TESTING:
            found = results.get(job_key(name, side, 4))
            row += [
                _text(TESTING[name].get(side)),
                *(_cell(found and found[key]) for key in ("test", "test_end", "train")),
                None if found is None else float(np.mean(found["iterations"])),
            ]
        row += [
            _cell(errors(results, "net, 1991", side, 4)),
            _cell(results["references"].get(side)),
        ]
        rows.append(tuple(row))
    columns = [
        column
        for name in TESTING
        for column in (
            f"{name}, 1991",
            name,
            f"{name}, at the end",
            f"{name}, on training speakers",
            f"{name}, iterations",
        )
    ]
    return Table(
        "table_4",
        "Table 4: error on 10 other speakers (with speaker ID: 5), in per cent",
        (
            "side input",
            *columns,
            "net in the manner of 1991",
            f"Gaussians in {CLUSTERS} clusters of speakers (Form: in one)",
        ),
        tuple(rows),
    )


def _signed(found: Estimate) -> str:
    return f"{found.mean:+.1f} points ({found.low:+.1f} to {found.high:+.1f})"


def _claims(results: Mapping[str, Any]) -> list[Claim]:
    def mean(name: str, side: str, table: int) -> float:
        values = errors(results, name, side, table)
        assert values is not None
        return float(np.mean(values))

    def gain(name: str, side: str) -> Estimate:
        pairs = zip(
            errors(results, name, side, 4) or (),
            errors(results, "mixture", side, 4) or (),
            strict=True,
        )
        return estimate([net - mixture for net, mixture in pairs])

    claims = [
        Claim(
            f"{title}: the mixture's training error is within or below the published interval "
            "(mean).",
            f"{published} %",
            f"{mean('mixture', side, 2):.1f} %",
            mean("mixture", side, 2) <= published.high,
        )
        for side, title in SIDES.items()
        for published in [TRAINING["mixture"][side]]
    ]
    claims += [
        Claim(
            f"{title}: the mixture's error on other speakers is within or below the published "
            "interval (mean).",
            f"{published} %",
            f"{mean('mixture', side, 4):.1f} %",
            mean("mixture", side, 4) <= published.high,
        )
        for side, title in SIDES.items()
        for published in [TESTING["mixture"][side]]
    ]
    for name, how in (("net", "trained alike"), ("net, 1991", "trained in the manner of 1991")):
        for side in TESTING["net"]:
            found = gain(name, side)
            published_gain = TESTING["net"][side].mean - TESTING["mixture"][side].mean
            claims.append(
                Claim(
                    f"{SIDES[side]}: the mixture errs less on other speakers than one net {how} "
                    "(95 % interval of the paired difference above 0).",
                    f"{published_gain:+.1f} points",
                    _signed(found),
                    found.low > 0,
                )
            )
    by_group = shares(results[job_key("mixture", "speaker", 2)]["experts"])
    common = {letter: float(np.mean(values)) for letter, values in by_group.items()}
    told = [side for side in SIDES if side != "formants"]
    claims += [
        Claim(
            "Told the speaker, the gate gives most men one expert and most children one (more "
            "than half of each group, mean of runs).",
            "84.4 and 86.7 %",
            f"{common['m']:.1f} and {common['c']:.1f} %",
            common["m"] > 50 and common["c"] > 50,
        ),
        Claim(
            "Why sigma begins at 1: with 0.25 throughout, the mixture's training error is more "
            "than twice as large, whatever the gate is told of the speaker.",
            "sigma 0.25",
            _beside(mean, "mixture, one sigma", told),
            all(mean("mixture, one sigma", s, 2) > 2 * mean("mixture", s, 2) for s in told),
        ),
        Claim(
            "Why inputs are standardised: in kHz the mixture's training error is larger for every "
            "side input.",
            "kHz",
            _beside(mean, "mixture, kHz", list(SIDES)),
            all(mean("mixture, kHz", s, 2) > mean("mixture", s, 2) for s in SIDES),
        ),
    ]
    reached = {s: float(np.mean(results["references"][s])) for s in TESTING["net"]}
    known = results[job_key("mixture", "speaker", 4)]["test_known"]
    claims += [
        Claim(
            "What these tokens allow: Gaussians in clusters of speakers are within or below the "
            "mixture's published interval on other speakers with MFC, and above it with the "
            "formants alone, with the range and with both (means).",
            ", ".join(f"{SIDES[s]} {TESTING['mixture'][s]}" for s in reached),
            ", ".join(f"{SIDES[s]} {value:.1f}" for s, value in reached.items()),
            [s for s in reached if reached[s] <= TESTING["mixture"][s].high] == ["mean"],
        ),
        Claim(
            "What the experts of a gate that knows speakers allow: chosen by all 20 tokens of a "
            "new speaker, his expert still errs more than the published interval (mean).",
            f"{TESTING['mixture']['speaker']} %, chosen by 3 tokens",
            f"{np.mean(known):.1f} %, chosen by all; {mean('mixture', 'speaker', 4):.1f} % by 3",
            float(np.mean(known)) > TESTING["mixture"]["speaker"].high,
        ),
    ]
    return claims


def _beside(mean: Any, name: str, sides: Sequence[str]) -> str:
    return ", ".join(
        f"{SIDES[s]} {mean(name, s, 2):.1f} against {mean('mixture', s, 2):.1f} %" for s in sides
    )
