"""What a run is, what it can do and how well, from what its folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phoneme_moe.corpora import load_corpus
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.quality import read_quality
from phoneme_moe.model.cost import cost_of
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.run_engine import spec_of

SPEED = "speed.json"
"""Of ``phoneme-moe bench``, in the run folder."""


def test_recordings(corpus: str) -> list[Path]:
    """Recordings of a prepared corpus's test split.

    Raises:
        InputError: It is not prepared.
    """
    sources = [cut.recording.sources[0].source for cut in load_corpus(corpus).cuts("test")]
    return [Path(source) for source in dict.fromkeys(sources)]


def model_card(run: LoadedRun) -> dict[str, Any]:
    """Plain data; what was not measured is None.

    Raises:
        InputError: A file in the folder is not JSON.
    """
    card, recognizer = spec_of(run), run.recognizer
    encoder = recognizer.encoder
    parameters = sum(
        p.numel() for name, p in recognizer.named_parameters() if not name.startswith("timing.")
    )
    cost = None if encoder is None else cost_of(encoder)
    frame = card.feature_seconds * card.stack
    return {
        "run": str(run.folder),
        "recipe": card.recipe,
        "description": run.recipe.description,
        "task": recognizer.task.kind,
        "corpus": card.corpus,
        "licence": CORPORA[card.corpus].licence if card.corpus in CORPORA else "yours",
        "phonemes": list(card.phonemes.symbols),
        "experts": list(card.experts),
        "parameters": parameters,
        "active_parameters": parameters if cost is None else cost.active,
        "multiply_adds_per_second": None if cost is None else cost.multiply_adds / frame,
        "frame_ms": 1000 * frame,
        "sample_rate": card.features["sample_rate"],
        "context_seconds": None if card.context is None else card.context * frame,
        "timing": recognizer.timing is not None,
        "decoding": {
            "temperature": run.decoding.temperature,
            "ngram_order": (
                None if run.decoding.language_model is None else run.decoding.language_model.order
            ),
            "ngram_weight": run.decoding.lm_weight,
            "bonus": run.decoding.insertion_bonus,
            "beam": run.decoding.beam,
            "minimum_bayes_risk": run.decoding.minimum_bayes_risk,
            "num_shifts": run.decoding.num_shifts,
        },
        "quality": read_quality(run),
        "speed": _read(run.folder / SPEED),
    }


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error


def card_lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person reads: names and values in order."""
    lines = [
        ("recipe", f"{card['recipe']}: {card['description']}".rstrip(": ")),
        ("corpus", f"{card['corpus']} (licence: {card['licence']})"),
        ("task", "tokens" if card["task"] == "classify" else "utterances (CTC)"),
        ("phonemes", f"{len(card['phonemes'])}: {' '.join(card['phonemes'])}"),
        ("experts", f"{len(card['experts'])}"),
        ("size", _size(card)),
        ("frames", f"{card['frame_ms']:.0f} ms of {card['sample_rate'] / 1000:g} kHz sound"),
    ]
    quality = card["quality"]
    if quality is None:
        lines.append(("quality", "not measured: runs trained by this version have it"))
    else:
        test = quality["test"]
        name = "error" if card["task"] == "classify" else "PER"
        text, other = f"{100 * test['per']:.2f} %", None
        if "per_beam" in test:
            read, beam = f"{100 * test['per_beam']:.2f} %", quality["beam"]
            if card["decoding"]["beam"] is None:
                other = f"{read} with --beam {beam}"
            else:
                text, other = f"{read} with a beam of {beam}", f"{text} with --beam 0"
        text += f" on {test['utterances']} test utterances"
        text += f", fold: none ({len(card['phonemes'])} phonemes)"
        if other is not None:
            text += f"; {other}"
        lines.append((name, text))
        raw, calibrated = (100 * test[f"calibration_error_{key}"] for key in ("raw", "calibrated"))
        lines.append(
            (
                "confidence",
                f"calibration error {calibrated:.1f} % on test "
                f"(temperature {card['decoding']['temperature']:g}; {raw:.1f} % without)",
            )
        )
        lines.append(("times", _times(test["times"])))
    lines.append(("speed", _speed(card["speed"])))
    return lines


def _size(card: dict[str, Any]) -> str:
    text = f"{card['parameters']:,} parameters"
    if card["active_parameters"] != card["parameters"]:
        text += f", {card['active_parameters']:,} of them active"
    if card["multiply_adds_per_second"] is not None:
        text += f"; {card['multiply_adds_per_second'] / 1e6:.0f} M multiply-adds a second of sound"
    return text


def _times(times: dict[str, Any] | None) -> str:
    if times is None:
        return "not measured: the corpus has no exact times"
    return "; ".join(
        f"{key}s off by {times[key]['median_ms']:.0f} ms in the median, "
        f"{100 * times[key]['within_20_ms']:.0f} % within 20 ms"
        for key in ("start", "end")
    )


def _speed(speed: dict[str, Any] | None) -> str:
    if speed is None:
        return "not measured: phoneme-moe bench RUN"
    return (
        f"{speed['times_real_time']:.0f} times real time, cold start "
        f"{speed['cold_start_seconds']:.1f} s, {speed['memory_mb']:.0f} MB ({speed['machine']})"
    )
