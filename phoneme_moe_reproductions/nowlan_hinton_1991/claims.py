"""The paper's figures, and its findings beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phoneme_moe_reproductions.nowlan_hinton_1991.jobs import job_key
from phoneme_moe_reproductions.nowlan_hinton_1991.tokens import SIDES, tokens
from phoneme_moe_reproductions.results import Claim
from phoneme_moe_reproductions.statistics import Estimate, estimate


@dataclass(frozen=True)
class Published:
    """An error of the paper in per cent, and half of its interval."""

    mean: float
    half: float

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean} ± {self.half}"


TRAINING = {
    "mixture": {
        "formants": Published(13.9, 0.9),
        "speaker": Published(4.6, 0.7),
        "mean": Published(13.0, 0.4),
        "both": Published(5.6, 0.6),
        "range": Published(11.6, 0.9),
    },
    "net": {
        "formants": Published(21.8, 0.6),
        "speaker": Published(6.2, 0.6),
        "mean": Published(15.4, 0.3),
        "both": Published(13.1, 1.0),
        "range": Published(13.5, 0.4),
    },
}
TESTING = {
    "mixture": {
        "formants": Published(15.1, 0.9),
        "speaker": Published(6.4, 1.3),
        "mean": Published(13.5, 0.6),
        "both": Published(6.2, 0.9),
        "range": Published(12.8, 0.9),
    },
    "net": {
        "formants": Published(23.3, 1.2),
        "mean": Published(18.4, 1.1),
        "both": Published(16.1, 1.0),
        "range": Published(16.2, 0.8),
    },
}
GROUPS = {"m": ("men", 84.4), "w": ("women", 42.9), "c": ("children", 86.7)}
"""Share of a group's speakers, in per cent, that have the group's commonest expert (Table 3)."""


def errors(results: Mapping[str, Any], name: str, side: str, table: int) -> list[float] | None:
    """Of every run, in per cent: training error for Table 2, test error for Table 4."""
    result = results.get(job_key(name, side, table))
    if result is None:
        return None
    runs: list[float] = result["train" if table == 2 else "test"]
    return runs


def commonest_expert_shares(experts: Sequence[Sequence[int]]) -> dict[str, list[float]]:
    """Speakers of a group that have its commonest expert, in per cent, by group and run.

    Args:
        experts: The expert of each speaker, in each run.
    """
    group = tokens().group
    by_group: dict[str, list[float]] = {}
    for letter in GROUPS:
        runs = [np.array(run)[group == letter] for run in experts]
        by_group[letter] = [100 * float(np.bincount(run).max()) / len(run) for run in runs]
    return by_group


def claims(results: Mapping[str, Any]) -> list[Claim]:
    """The paper's findings, with ours."""

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

    statements = [
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
    statements += [
        Claim(
            f"{title}: the mixture's error on unseen speakers is within or below the published "
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
            ours = gain(name, side)
            published_gain = TESTING["net"][side].mean - TESTING["mixture"][side].mean
            statements.append(
                Claim(
                    f"{SIDES[side]}: the mixture makes fewer errors on unseen speakers than one "
                    f"net {how} (95 % interval of the paired difference above 0).",
                    f"{published_gain:+.1f} points",
                    ours.points(1),
                    ours.low > 0,
                )
            )
    by_group = commonest_expert_shares(results[job_key("mixture", "speaker", 2)]["experts"])
    common = {letter: float(np.mean(values)) for letter, values in by_group.items()}
    speaker_sides = [side for side in SIDES if side != "formants"]
    statements += [
        Claim(
            "With the speaker's identity, the gate gives most men one expert and most children one "
            "(more than half of each group, mean of runs).",
            "84.4 and 86.7 %",
            f"{common['m']:.1f} and {common['c']:.1f} %",
            common["m"] > 50 and common["c"] > 50,
        ),
        Claim(
            "Why sigma begins at 1: with 0.25 throughout, the mixture's training error is more "
            "than twice as large with every side input about the speaker.",
            "sigma 0.25",
            _beside(mean, "mixture, one sigma", speaker_sides),
            all(
                mean("mixture, one sigma", s, 2) > 2 * mean("mixture", s, 2) for s in speaker_sides
            ),
        ),
        Claim(
            "Why inputs are standardised: in kHz the mixture's training error is larger for every "
            "side input.",
            "kHz",
            _beside(mean, "mixture, kHz", list(SIDES)),
            all(mean("mixture, kHz", s, 2) > mean("mixture", s, 2) for s in SIDES),
        ),
    ]
    gaussians = {s: float(np.mean(results["references"][s])) for s in TESTING["net"]}
    by_all_tokens = results[job_key("mixture", "speaker", 4)]["test_known"]
    statements += [
        Claim(
            "Reachable with these tokens: Gaussians in clusters of speakers are within or below "
            "the mixture's published interval on unseen speakers with MFC, and above it with the "
            "formants alone, with the range and with both (means).",
            ", ".join(f"{SIDES[s]} {TESTING['mixture'][s]}" for s in gaussians),
            ", ".join(f"{SIDES[s]} {value:.1f}" for s, value in gaussians.items()),
            [s for s in gaussians if gaussians[s] <= TESTING["mixture"][s].high] == ["mean"],
        ),
        Claim(
            "Reachable with the experts of a gate that sees the speaker's identity: chosen by all "
            "20 tokens of an unseen speaker, the expert is still above the published interval "
            "(mean).",
            f"{TESTING['mixture']['speaker']} %, chosen by 3 tokens",
            f"{np.mean(by_all_tokens):.1f} %, chosen by all; "
            f"{mean('mixture', 'speaker', 4):.1f} % by 3",
            float(np.mean(by_all_tokens)) > TESTING["mixture"]["speaker"].high,
        ),
    ]
    return statements


def _beside(mean: Any, name: str, sides: Sequence[str]) -> str:
    return ", ".join(
        f"{SIDES[s]} {mean(name, s, 2):.1f} against {mean('mixture', s, 2):.1f} %" for s in sides
    )
