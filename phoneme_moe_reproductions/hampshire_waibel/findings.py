"""Table 1 of NIPS 2 beside ours; modules across speakers; whether the two gates differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe_reproductions.figures import COLOURS, draw_weights, save, two_panels
from phoneme_moe_reproductions.results import Cell, Claim, Outcome, Table
from phoneme_moe_reproductions.statistics import Estimate, estimate, mcnemar_p, paired_t_test

PUBLISHED: Mapping[str, tuple[int | None, float | None, float | None]] = {
    "TDNN, mse": (6_233, 97.3, 95.9),
    "TDNN, ce": (None, None, None),
    "TDNN, cfm": (None, None, None),
    "FSTDNN, one ply": (5_357, 96.8, None),
    "FSTDNN, two plies": (6_947, 97.2, None),
    "Multiple TDNN": (18_700, 98.6, 97.1),
    "Modular TDNN": (37_400, 97.3, 96.3),
    "SID": (144_000, None, 98.3),
    "Meta-Pi": (144_000, None, 98.4),
    "Meta-Pi, raw sigmoids": (None, None, None),
    "own net, mse": (6_233, 98.5, 98.5),
    "own module": (None, None, None),
}
"""By system: connections, and per cent right for three and for six speakers."""

SETS = {"three": "three males", "six": "six speakers"}
FIXED_COUNTS = ("TDNN, mse", "FSTDNN, one ply", "FSTDNN, two plies")
"""Systems whose architecture, as printed, fixes the number of connections."""

Runs = Sequence[Mapping[str, Any]]
"""Results of ``compare`` for one speaker set, in order of seeds."""


def conclude(results: Mapping[str, Any], published: bool = True) -> Outcome:
    """Tables and claims.

    Args:
        results: Of all jobs.
        published: Whether the corpus stands for the paper's, so that its figures are shown.
    """
    runs = list(results.values())
    sets = {name: [r[name] for r in runs] for name in SETS if name in runs[0]}
    six = sets["six"]
    tables = (_systems(sets, published), _matrix(six), _weights(six))
    return Outcome(tables, tuple(_claims(sets, published)))


def error_rates(runs: Runs, system: str) -> list[float]:
    """Error in per cent of a system, for each seed."""
    return [r["systems"][system]["all"] for r in runs]


def relative_reduction(runs: Runs, system: str, baseline: str = "TDNN, mse") -> list[float]:
    """Relative error reduction of a system against a baseline, in per cent, by seed."""
    pairs = zip(error_rates(runs, system), error_rates(runs, baseline), strict=True)
    return [100 * (1 - error / baseline_error) for error, baseline_error in pairs]


def _accuracy(runs: Runs, system: str) -> Estimate:
    return estimate([100 - error for error in error_rates(runs, system)])


def _systems(sets: Mapping[str, Runs], published: bool) -> Table:
    columns = ["system", *(["connections, 1989"] if published else []), "connections"]
    for name in sets:
        columns += [*([f"{SETS[name]} %, 1989"] if published else []), f"{SETS[name]} %"]
    columns.append("error reduction against the TDNN, %")
    rows = []
    for system, (connections, *rates) in PUBLISHED.items():
        row: list[Cell] = [system]
        ours = sets["six"][0]["systems"][system]["connections"]
        row += [connections, ours] if published else [ours]
        for name, runs in sets.items():
            rate = rates[list(SETS).index(name)]
            row += [rate, _accuracy(runs, system)] if published else [_accuracy(runs, system)]
        row.append(estimate(relative_reduction(sets["six"], system)))
        rows.append(tuple(row))
    title = "All systems: accuracy on test, per cent"
    return Table("table_1", title, tuple(columns), tuple(rows), digits=2)


def _matrix(runs: Runs) -> Table:
    speakers = runs[0]["speakers"]
    errors = np.array([r["matrix"] for r in runs])  # (seeds, modules, speakers)
    rows = tuple(
        (name, *(estimate(errors[:, module, k].tolist()) for k in range(len(speakers))))
        for module, name in enumerate(speakers)
    )
    title = "Every module (a Multiple TDNN) alone on every speaker: error, per cent"
    return Table("matrix", title, ("module \\ speaker", *speakers), rows)


def mean_weights(runs: Runs, gate: str) -> np.ndarray:
    """Mean weight of modules (columns) for speakers (rows) over seeds, in per cent."""
    weights: np.ndarray = 100 * np.mean([r["weights"][gate] for r in runs], axis=0)
    return weights


def _weights(runs: Runs) -> Table:
    speakers = runs[0]["speakers"]
    rows = tuple(
        (gate, speaker, *map(float, mean_weights(runs, gate)[k]))
        for gate in runs[0]["weights"]
        for k, speaker in enumerate(speakers)
    )
    title = "Mean weight of each module, per cent (raw sigmoids need not sum to 100)"
    return Table("weights", title, ("gate", "speaker \\ module", *speakers), rows)


def _claims(sets: Mapping[str, Runs], published: bool) -> list[Claim]:
    six = sets["six"]
    pooled, best = _accuracy(six, "TDNN, mse"), _accuracy(six, "Meta-Pi")
    reduction = estimate(relative_reduction(six, "Meta-Pi"))
    multiple = estimate(relative_reduction(six, "Multiple TDNN"))
    claims = [
        Claim(
            "Meta-Pi makes at least 60 % fewer errors than one TDNN for all speakers (mean over "
            "seeds), and the 95 % intervals of their accuracies are disjoint.",
            "61 %: 98.4 against 95.9 % accuracy",
            f"{reduction.mean:.0f} %: {best.mean:.2f} against {pooled.mean:.2f} % accuracy",
            reduction.mean >= 60 and best.low > pooled.high,
        ),
        Claim(
            "A Multiple TDNN for all speakers is between the two (mean over seeds).",
            "29 % fewer errors",
            f"{multiple.mean:.0f} % fewer",
            0 < multiple.mean < reduction.mean,
        ),
        *_gate_claims(six),
        *_modular_claims(six),
        *_own_module_claims(six),
    ]
    if published:
        claims.insert(0, _counts(six))
        claims.insert(
            2,
            Claim(
                "Meta-Pi's error reduction against the TDNN is the published one (61 % is in the "
                "95 % interval).",
                "61 %",
                f"{reduction.mean:.0f} % ({reduction.low:.0f} to {reduction.high:.0f})",
                reduction.low <= 61 <= reduction.high,
            ),
        )
    if "three" in sets:
        three = sets["three"]
        tdnn, others = _accuracy(three, "TDNN, mse"), ("FSTDNN, one ply", "FSTDNN, two plies")
        rates = [_accuracy(three, name).mean for name in others]
        claims.append(
            Claim(
                "For three males frequency-shift invariance does not help: neither FSTDNN is "
                "better than the TDNN (its mean is not above the TDNN's 95 % interval).",
                "96.8 and 97.2 against 97.3 %",
                f"{rates[0]:.2f} and {rates[1]:.2f} against {tdnn.mean:.2f} %",
                max(rates) <= tdnn.high,
            )
        )
    return claims


def _counts(six: Runs) -> Claim:
    ours = [six[0]["systems"][name]["connections"] for name in FIXED_COUNTS]
    published = [PUBLISHED[name][0] for name in FIXED_COUNTS]
    return Claim(
        "The networks have the published numbers of connections (TDNN, FSTDNN of one and two "
        "plies).",
        ", ".join(f"{count:,}" for count in published),
        ", ".join(f"{count:,}" for count in ours),
        ours == published,
    )


def _gate_claims(six: Runs) -> list[Claim]:
    meta_pi, sid = error_rates(six, "Meta-Pi"), error_rates(six, "SID")
    raw = error_rates(six, "Meta-Pi, raw sigmoids")
    mcnemar = [mcnemar_p(r["only"]["Meta-Pi"], r["only"]["SID"]) for r in six]
    significant = sum(p < 0.05 for p in mcnemar)
    accuracy = np.mean([r["speaker_rate"] for r in six])
    claims = []
    if len(six) > 1:
        test = paired_t_test(meta_pi, sid)
        claims.append(
            Claim(
                "A gate trained without speaker labels (Meta-Pi) is as good as one trained to "
                "identify the speaker (SID): no difference over seeds (paired t-test, p > 0.05).",
                "98.4 against 98.3 %",
                f"{100 - np.mean(meta_pi):.2f} against {100 - np.mean(sid):.2f} %, p = "
                f"{test.p:.2g}; on the same tokens they differ in {significant} of {len(six)} "
                f"seeds (McNemar, p < 0.05); SID identifies the speaker of {accuracy:.1f} % of "
                "tokens",
                test.p > 0.05,
            )
        )
        test = paired_t_test(raw, meta_pi)
        claims.append(
            Claim(
                "It makes no difference whether Meta-Pi's gate is a softmax or raw sigmoids "
                "(paired t-test, p > 0.05).",
                "not known which it was",
                f"{100 - np.mean(meta_pi):.2f} against {100 - np.mean(raw):.2f} %, p = "
                f"{test.p:.2g}",
                test.p > 0.05,
            )
        )
    return claims


def _modular_claims(six: Runs) -> list[Claim]:
    modular = float(np.mean(error_rates(six, "Modular TDNN")))
    pooled = float(np.mean(error_rates(six, "TDNN, mse")))
    multiple = float(np.mean(error_rates(six, "Multiple TDNN")))
    return [
        Claim(
            "A Modular TDNN is better than one TDNN, but no better than a Multiple TDNN (means).",
            "96.3: between 95.9 and 97.1 %",
            f"{100 - modular:.2f}, with {100 - pooled:.2f} and {100 - multiple:.2f} %",
            multiple <= modular < pooled,
        )
    ]


def _own_module_claims(six: Runs) -> list[Claim]:
    matched = _accuracy(six, "own module")
    meta_pi = _accuracy(six, "Meta-Pi")
    return [
        Claim(
            "Meta-Pi is as good as each speaker's own module (means within half a point).",
            "98.4 against some 98.5 %",
            f"{meta_pi.mean:.2f} against {matched.mean:.2f} %",
            abs(matched.mean - meta_pi.mean) <= 0.5,
        )
    ]


def draw(results: Mapping[str, Any], folder: Path, published: bool = True) -> list[str]:
    """Error of every system on six speakers, with the published one; and Meta-Pi's weights.

    Args:
        results: Of all jobs.
        folder: Where to write.
        published: Whether the corpus stands for the paper's, so that its figures are drawn.
    """
    runs = [r["six"] for r in results.values()]
    figure, left, right = two_panels(10, 4.2, (1.15, 1))
    for row, (system, (*_, rate)) in enumerate(PUBLISHED.items()):
        rates = error_rates(runs, system)
        middle = estimate(rates)
        left.plot(rates, [row] * len(rates), "|", color=COLOURS[0], markersize=9, alpha=0.6)
        left.plot([middle.low, middle.high], [row, row], color=COLOURS[0], linewidth=3)
        if rate is not None and published:
            left.plot(100 - rate, row, "D", color=COLOURS[1], markersize=6)
    left.plot([], [], "|", color=COLOURS[0], markersize=9, label="a seed")
    left.plot([], [], color=COLOURS[0], linewidth=3, label="95 % interval of the mean")
    if published:
        left.plot([], [], "D", color=COLOURS[1], label="1989")
    left.set_yticks(range(len(PUBLISHED)), list(PUBLISHED))
    left.invert_yaxis()
    left.set_xlim(0)
    left.set_xlabel("error on six speakers, %")
    left.legend(frameon=False, fontsize="small", loc="lower right")
    draw_weights(right, mean_weights(runs, "Meta-Pi"), runs[0]["speakers"], runs[0]["speakers"])
    right.set_title("Meta-Pi: mean weight of each module, %", fontsize="small")
    name = "hampshire_waibel" if published else "hampshire_waibel_digits"
    return save(figure, folder, name, "Error of every system, and Meta-Pi's gate weights")
