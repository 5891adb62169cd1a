"""The models of English that come with the package, on voices that they were not trained on."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from phoneme_moe import load
from phoneme_moe.decoding.scoring import UtteranceScore, score_utterance, total_score
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.models import ROOT, shipped_models

MOST_ERRORS = {"english": 0.45, "english_whisper": 0.1}
"""Above what each model makes on the recordings below, with some room."""

MOST_BYTES = 24_000_000


def test_the_models_of_the_package_are_those_of_the_readme() -> None:
    assert set(shipped_models()) == set(MOST_ERRORS)
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in MOST_ERRORS:
        assert f"`{name}`" in readme


@pytest.mark.parametrize("name", MOST_ERRORS)
def test_a_model_is_small_and_its_card_complete(name: str) -> None:
    folder = ROOT / name
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    # Nobody needs the machine on which it was made.
    for path in files:
        assert b"/work/" not in path.read_bytes()
        assert b"/home/" not in path.read_bytes()
    card = model_card(load(name))
    assert card.quality is not None
    assert card.speed is not None
    assert card.speech is not None
    assert all(corpus.error_rate is not None for corpus in card.speech.corpora)
    assert all(corpus.licence != "yours" for corpus in card.speech.corpora)
    assert len(card.phonemes) == 39
    assert len(card.experts) > 1


@pytest.mark.parametrize("name", MOST_ERRORS)
def test_silence_and_noise_have_an_answer(name: str) -> None:
    run = load(name)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    assert not run.transcribe(np.zeros(16_000, np.float32), sample_rate=16_000).segments
    for segment in run.transcribe(noise, sample_rate=16_000).segments:
        assert 0 <= segment.start < segment.end <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_ERRORS)
def test_unseen_speakers_are_recognised(name: str) -> None:
    corpora = os.environ.get("PHONEME_MOE_CORPORA")
    if corpora is None or not (folder := Path(corpora, "transcribe")).is_dir():
        pytest.skip("needs recordings (PHONEME_MOE_CORPORA)")
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["phones"]]
    rows = [row for row in rows if not row["path"].endswith(".raw")]
    assert len(rows) > 8
    run = load(name)
    scores: list[UtteranceScore] = []
    for row in rows:
        segments = run.transcribe(folder / row["path"]).segments
        scores.append(score_utterance(row["phones"].split(), [s.phoneme for s in segments]))
    assert total_score(scores).error_rate < MOST_ERRORS[name]
