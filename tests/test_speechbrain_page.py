"""The comparison with SpeechBrain as Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.against_speechbrain import SETTINGS_KEY, Settings, section


def figures_of(per: float, frames: float, **more: Any) -> dict[str, Any]:
    settings = {"minutes": 60.0, "threads": 1, "recipe": "dense"}
    return {
        SETTINGS_KEY: settings,
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
    [(0.39, 3000.0, "met"), (0.41, 3000.0, "**not met**"), (0.39, 2900.0, "**not met**")],
)
def test_fewer_errors_and_more_frames_are_both_required(
    per: float, frames: float, verdict: str
) -> None:
    text = section({"ours": figures_of(per, frames), "narrowed": figures_of(0.5, 1000.0)})
    assert f"times without the copies): {verdict}." in text
    assert "mostly blanks" not in text


def test_an_untrained_model_is_not_called_beaten_without_a_remark() -> None:
    figures = {"ours": figures_of(0.4, 9000.0, seconds=3720.0), "narrowed": figures_of(1.0, 1000.0)}
    text = section(figures)
    assert "After 1.9 passes over the speech the narrowed one still outputs mostly blanks" in text
    assert "Ours exceeded the budget by 2.0 minutes." in text


def test_figures_hold_for_the_settings_that_affect_the_model() -> None:
    settings = Settings("dense", 60, 60.0, 1, quick=False)
    assert settings.to_json("full") == {"minutes": 60.0, "threads": 1}
    assert settings.to_json("narrowed") == {"minutes": 60.0, "threads": 1, "recipe": "dense"}
    assert settings.to_json("ours")["epochs"] == 60
