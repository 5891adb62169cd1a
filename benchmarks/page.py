"""Writes docs/benchmarks.md from the figures that the benchmarks kept.

``python -m benchmarks.page``; the benchmarks call it themselves when they end.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks import results
from benchmarks.tables import table
from phoneme_moe.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Written by the programs in `benchmarks/` (`python -m benchmarks.NAME`); figures in
`benchmarks/results/`. Error of speaker experts is PER for `six_speakers_digits` (19 phonemes, no
folding) and 1 - accuracy for `hampshire_waibel`, in per cent, on the test split, lower is better.
"""


def write() -> None:
    """Writes the page from what there is."""
    figures = results.read("six_speakers")
    parts = [HEAD]
    if figures:
        parts += [_mixture_against_pooled(figures), _matrices(figures), _left_out(figures)]
    alignment = results.read("alignment")
    if alignment:
        parts.append(_alignment(alignment))
    step = results.read("training_step")
    if step:
        parts.append(_training_step(step))
    parts += _sections()
    notes = Path(__file__).parent / "notes.md"
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8"))
    write_text(PAGE, "\n".join(parts))


def _sections() -> list[str]:
    """Every benchmark that writes its own section."""
    # Each benchmark writes its own section, and this page when it ends.
    from benchmarks import (
        against_speechbrain,
        flat_cost,
        ladder_figure,
        ladder_page,
        on_gpu,
        routing_scale,
        sparse_ladder,
        step_profile,
        transcribe,
    )

    parts = []
    ladder = results.read("sparse_ladder")
    if ladder:
        ladder_figure.draw(ladder, sparse_ladder.RUNGS, PAGE.parent / "images")
        parts.append(ladder_page.section(ladder, sparse_ladder.RUNGS))
        parts.append(ladder_page.longest_section(ladder, sparse_ladder.LONGEST))
        parts.append(ladder_page.collapse_section(ladder, sparse_ladder.COLLAPSE))
    for name, module in (
        ("flat_cost", flat_cost),
        ("on_gpu", on_gpu),
        ("step_profile", step_profile),
        ("against_speechbrain", against_speechbrain),
        ("transcribe", transcribe),
        ("routing_scale", routing_scale),
    ):
        figures = results.read(name)
        if figures:
            parts.append(module.section(figures))
    return parts


def _runs(figures: dict[str, Any], recipe: str) -> list[dict[str, Any]]:
    """Figures of a recipe's seeds, nobody left out."""
    return [f for key, f in figures.items() if key.split("/")[::2] == [recipe, "-"]]


def _alignment(figures: dict[str, Any]) -> str:
    """Onset errors of the aligner of the digits."""
    rows = [
        [
            name,
            f"{found['phonemes']:,}",
            *(f"{found[key]:.0f}" for key in ("median", "shift")),
            *(f"{found[key]:.1f}" for key in ("within_20", "within_40")),
        ]
        for name, found in figures.items()
    ]
    return (
        "## Onsets found by forced alignment\n\nTokens of the experiments on real digits are cut "
        "by a CTC model with label priors, trained on FSDD\nand on speechocean762 beside it "
        "(`phoneme_moe/reproductions/alignment.py`; `python -m benchmarks.alignment`). On the "
        "announcers, whose times\nare exact, the same model of their own words. FSDD has no times: "
        "there the onset of the second phoneme of *two* to *seven*\nis held against the rise of "
        "power between 150 and 900 Hz, which knows nothing of the model, but says nothing of other "
        "phonemes.\nIn pictures, *seven* is the worst: V, AH and N are often squeezed together.\n\n"
        + table(
            [
                "onsets",
                "phonemes",
                "median error, ms",
                "shift, ms",
                "within 20 ms, %",
                "within 40 ms, %",
            ],
            rows,
        )
    )


def _percent(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"


def _mixture_against_pooled(figures: dict[str, Any]) -> str:
    text = (
        "## The mixture against one net for all\n\nMean ± standard deviation over seeds. "
        "Training (with evaluation and report) on one thread, two\nruns at a time. In a mixture "
        "every expert is asked, so all its weights are active.\n"
    )
    for recipe in ("hampshire_waibel", "six_speakers_digits"):
        mixture, pooled = _runs(figures, recipe), _runs(figures, f"{recipe}_pooled")
        if not mixture or not pooled:
            continue
        speakers = list(mixture[0]["by_speaker"])
        own = [m["experts"][s][s] for m in mixture for s in speakers]
        rows = [
            [
                name,
                *[_percent([f["by_speaker"][s] for f in runs]) for s in speakers],
                _percent([f["all"] for f in runs]),
                f"{runs[0]['weights']:,}",
                f"{mean(f['seconds'] for f in runs):.0f}",
            ]
            for name, runs in (("mixture", mixture), ("pooled", pooled))
        ]
        text += f"\n### `{recipe}` ({len(mixture)} seeds)\n\n"
        text += table(["error, %", *speakers, "all", "weights", "training, s"], rows)
        text += f"\nEach speaker's own expert alone: {100 * mean(own):.2f} % errors on him.\n"
    return text


def _matrices(figures: dict[str, Any]) -> str:
    text = (
        "## Every expert on every speaker\n\nError in per cent of an expert that answers alone "
        "(rows) on each speaker's test\nsplit (columns), mean over seeds; then the mean weight "
        "that the gate gives it, in per cent.\n"
    )
    for recipe in ("hampshire_waibel", "six_speakers_digits"):
        runs = _runs(figures, recipe)
        if not runs:
            continue
        speakers = list(runs[0]["by_speaker"])
        experts = list(runs[0]["experts"])
        errors = [
            [e, *[f"{100 * mean([r['experts'][e][s] for r in runs]):.1f}" for s in speakers]]
            for e in experts
        ]
        text += f"\n### `{recipe}`\n\n" + table(["expert \\ speaker", *speakers], errors)
        for number, run in enumerate(runs):
            routing = run["routing"]
            weights = [
                [speaker, *[f"{100 * w:.0f}" for w in row]]
                for speaker, row in zip(routing["speakers"], routing["weights"], strict=True)
            ]
            text += f"\nGate, seed {number} (speakers down, experts across):\n\n"
            text += table(["speaker \\ expert", *routing["experts"]], weights)
    return text


def _left_out(figures: dict[str, Any]) -> str:
    speakers = [key.split("/")[2] for key in figures if key.startswith("six_speakers_digits/0/")]
    speakers = [s for s in speakers if s != "-"]
    if not speakers:
        return ""
    rates = [figures[f"six_speakers_digits/0/{s}"]["by_speaker"][s] for s in speakers]
    row = ["mixture of five", *[f"{100 * r:.1f}" for r in rates], f"{100 * mean(rates):.1f}"]
    return (
        "## A speaker nobody has heard\n\nPER in per cent of each FSDD speaker when he is "
        "left out of training and dev, so that\nfive experts serve him (one seed).\n\n"
        + table(["PER, %", *speakers, "mean"], [row])
    )


def _training_step(step: dict[str, Any]) -> str:
    rows = [
        [
            f"`{row['recipe']}`",
            row["stage"],
            f"{row['step_ms']:.1f}",
            f"{row['frames_per_second']:,.0f}",
            f"{100 * row['arithmetic_share']:.0f}",
        ]
        for row in step["stages"]
    ]
    return (
        f"## Where a training step's time goes\n\nOn {step['machine']}. Frames are real 10 ms "
        "frames; arithmetic is the share of self CPU time in\nmatrix products and convolutions "
        "(every TDNN layer is one batched product).\n\n"
        + table(["recipe", "stage", "ms a step", "frames/s", "arithmetic, %"], rows)
    )


if __name__ == "__main__":
    write()
