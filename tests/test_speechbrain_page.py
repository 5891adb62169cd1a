"""What the page says of ours and of theirs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.against_speechbrain import Asked, section


def found(per: float, frames: float, **more: Any) -> dict[str, Any]:
    asked = {"minutes": 60.0, "threads": 1, "recipe": "dense"}
    return {
        "asked": asked,
        "per": per,
        "interval": [per, per],
        "dev_per": per,
        "utterances": 500,
        "phonemes": 9692,
        "seconds": 3600.0,
        "epochs": 1.9,
        "machine": "a machine",
        "parameters": 800_000,
        "frames_per_second": frames,
        "corpus_frames_per_second": frames / 2,
        "inference_frames_per_second": frames,
        **more,
    }


@pytest.mark.parametrize(
    ("per", "frames", "verdict"),
    [(0.39, 3000.0, "reached"), (0.41, 3000.0, "missed"), (0.39, 2900.0, "missed")],
)
def test_fewer_errors_and_more_frames_are_both_asked_for(
    per: float, frames: float, verdict: str
) -> None:
    text = section({"ours": found(per, frames), "narrowed": found(0.5, 1000.0)})
    assert f"times without the copies): {verdict}." in text
    assert "has not begun" not in text


def test_who_says_nothing_yet_is_not_called_beaten_without_a_word() -> None:
    figures = {"ours": found(0.4, 9000.0, seconds=3720.0), "narrowed": found(1.0, 1000.0)}
    text = section(figures)
    assert "In its 1.9 passes over the speech the narrowed one has not begun" in text
    assert "Ours took 2.0 minutes more than its budget." in text


def test_figures_hold_for_what_was_asked() -> None:
    asked = Asked("dense", 60, 60.0, 1, quick=False)
    assert asked.to_json("full") == {"minutes": 60.0, "threads": 1}
    assert asked.to_json("narrowed") == {"minutes": 60.0, "threads": 1, "recipe": "dense"}
    assert asked.to_json("ours")["epochs"] == 60
