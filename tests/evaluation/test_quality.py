"""What a run's folder says of its transcriptions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.decoding.ngram import END
from phoneme_moe.evaluation.calibrate import calibrate
from phoneme_moe.evaluation.quality import (
    calibration_error,
    matched_errors,
    read_quality,
)
from phoneme_moe.evaluation.stored_card import stored_card
from phoneme_moe.pipeline import Trained
from phoneme_moe.run_folder import load_run

if TYPE_CHECKING:
    from conftest import Outcome

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def test_calibration_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False])
    # Two bins of two: |0.95 - 1| and |0.55 - 0.5|.
    assert calibration_error(sure, right) == pytest.approx(0.05)
    assert calibration_error(np.ones(5), np.ones(5, bool)) == 0
    assert calibration_error(np.ones(4), np.zeros(4, bool)) == 1
    assert calibration_error(np.empty(0), np.empty(0, bool)) == 0


def test_times_are_compared_where_the_phoneme_is_right() -> None:
    reference = [("a", 0.0, 0.1), ("s", 0.1, 0.2), ("i", 0.2, 0.3)]
    found = [("a", 0.01, 0.1), ("m", 0.1, 0.2), ("i", 0.2, 0.33)]
    assert matched_errors(reference, found) == [
        pytest.approx((0.01, 0.0)),
        pytest.approx((0.0, 0.03)),
    ]
    assert matched_errors(reference, []) == []


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_a_trained_run_has_its_quality_on_record(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    quality = json.loads((trained.run.folder / "quality.json").read_text())
    schema = json.loads((SCHEMAS / "quality.schema.json").read_text())
    jsonschema.validate(quality, schema, jsonschema.Draft202012Validator)
    read = read_quality(trained.run.folder)
    assert read is not None
    assert quality == read.model_dump(exclude_unset=True)
    assert quality["test"]["per"] == pytest.approx(trained.evaluation.total.error_rate)
    loaded = load_run(trained.run.folder)
    assert loaded.decoding == trained.run.decoding
    decoding = json.loads((trained.run.folder / "decoding.json").read_text())
    schema = json.loads((SCHEMAS / "decoding.schema.json").read_text())
    jsonschema.validate(decoding, schema, jsonschema.Draft202012Validator)
    for split in ("dev", "test"):
        part = quality[split]
        if fixture == "recognized":
            assert part["per_beam"] <= part["per"] + 0.05
            assert part["times"]["start"]["median_ms"] < 60
    assert quality["dev"]["calibration_error_calibrated"] <= (
        quality["dev"]["calibration_error_raw"] + 0.02
    )


def test_the_model_card(recognized: Trained, phoneme_moe: Callable[..., Outcome]) -> None:
    folder = recognized.run.folder
    outcome = phoneme_moe("model", folder, "--json", folder / "card.json")
    assert outcome.code == 0
    for word in ("recipe", "PER", "confidence", "times", "licence", "speed"):
        assert word in outcome.out
    card = json.loads((folder / "card.json").read_text())
    assert card["phonemes"] == list(recognized.run.recognizer.phonemes.symbols)
    assert card["quality"]["version"] == 1
    assert all(len(line) <= 80 for line in outcome.out.splitlines())


def test_tokens_have_no_times(classified: Trained, phoneme_moe: Callable[..., Outcome]) -> None:
    outcome = phoneme_moe("model", classified.run.folder)
    assert outcome.code == 0
    assert "error" in outcome.out
    assert "times " not in outcome.out.replace("times real time", "")


def test_a_run_without_quality_json_has_a_card_too(
    recognized: Trained, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    import shutil

    run = tmp_path / "old"
    shutil.copytree(recognized.run.folder, run)
    for name in ("quality.json", "decoding.json"):
        (run / name).unlink()
    outcome = phoneme_moe("model", run)
    assert outcome.code == 0
    assert "not measured" in outcome.out
    (run / "quality.json").write_text("{")
    outcome = phoneme_moe("model", run)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)


def test_bench_without_recordings_says_what_it_needs(
    recognized: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phoneme_moe: Callable[..., Outcome],
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path))
    outcome = phoneme_moe("bench", recognized.run.folder)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "expected audio files, since the model's test recordings are not here" in outcome.err
    assert "corpus 'tones' is unknown" in outcome.err


def test_bench_times_every_stage(
    recognized: Trained, phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = phoneme_moe("bench", recognized.run.folder, "--json", tmp_path / "speed.json")
    assert outcome.code == 0
    found = json.loads((tmp_path / "speed.json").read_text())
    assert set(found["stages"]) == {"read audio", "features", "network", "decode"}
    assert all(seconds > 0 for seconds in found["stages"].values())
    assert found["times_real_time"] == pytest.approx(found["sound_seconds"] / found["all_seconds"])
    assert "times real time" in phoneme_moe("model", recognized.run.folder).out


def test_utterances_that_are_not_trained_on_are_not_in_the_ngram(
    recognized: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    run = load_run(shutil.copytree(recognized.run.folder, tmp_path / "run"))
    few = run.recipe.corpus.model_copy(update={"max_utterances": 2})
    run = replace(run, recipe=run.recipe.model_copy(update={"corpus": few}))
    assert few.speakers is not None
    number = 2 * len(few.speakers)
    ngram = calibrate(run, tones).decoding.language_model
    assert ngram is not None
    ends = [followers.get(END, 0) for followers in ngram.to_document().counts.values()]
    assert sum(ends) == number
    assert stored_card(run, tones).corpora[0].train.utterances == number
