"""Runs and an ONNX file that version 0.1.0 made do what they did then.

``fixtures/runs_0_1_0`` was trained on the tiny corpus with the settings in each ``recipe.yaml``: an
expert for each speaker behind a gate, with a net for times, also as an ONNX file; and an encoder
with sparse experts. The transcripts and scores beside them are what 0.1.0 made of ``carol.wav``
(the phonemes a s i m a) and of the test split.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny

from phoneme_moe import load

if TYPE_CHECKING:
    from conftest import Outcome

    from phoneme_moe.corpora import PreparedCorpus

FOLDER = Path(__file__).parent / "fixtures" / "runs_0_1_0"
RUNS = ("gate", "sparse")
ROUNDING = 1.5e-4
"""Shares are written with four decimals, which may round either way."""


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_a_loaded_run_transcribes_as_it_did(name: str) -> None:
    expected = read(FOLDER / f"{name}.json")
    transcript = load(FOLDER / name).transcribe(FOLDER / "carol.wav")
    assert list(transcript.phonemes) == expected["phonemes"]
    assert transcript.routing == pytest.approx(expected["routing"], abs=ROUNDING)


@pytest.mark.parametrize("name", [*RUNS, "gate.onnx"])
def test_the_command_writes_the_transcript_that_it_wrote(
    phoneme_moe: Callable[..., Outcome], name: str
) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    expected = read(FOLDER / f"{name.replace('.', '_')}.json")
    outcome = phoneme_moe("transcribe", FOLDER / name, FOLDER / "carol.wav", "--format", "json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found.keys() == expected.keys()
    for key in set(expected) - {"file", "run", "segments", "routing"}:
        assert found[key] == expected[key], key
    assert found["routing"] == pytest.approx(expected["routing"], abs=ROUNDING)
    for segment, other in zip(found["segments"], expected["segments"], strict=True):
        assert segment.keys() == other.keys()
        assert segment["phoneme"] == other["phoneme"]
        for key in ("start", "end", "confidence", "experts"):
            assert segment[key] == pytest.approx(other[key], abs=ROUNDING), key


@pytest.mark.parametrize("name", RUNS)
def test_a_run_makes_the_errors_that_it_made(
    phoneme_moe: Callable[..., Outcome], tones: PreparedCorpus, tmp_path: Path, name: str
) -> None:
    expected = read(FOLDER / name / "evaluation.json")
    found = _evaluate(phoneme_moe, name, tmp_path)
    assert found.keys() == expected.keys()
    assert found["by_speaker"].keys() == expected["by_speaker"].keys()
    for score, other in (
        (found, expected),
        *((found["by_speaker"][who], expected["by_speaker"][who]) for who in found["by_speaker"]),
    ):
        for key in ("substitutions", "insertions", "deletions", "phonemes", "utterances"):
            assert score[key] == other[key], key


@pytest.mark.parametrize(("name", "split"), [("gate", "dev"), ("sparse", "test")])
def test_a_beam_search_with_the_n_gram_of_a_run_makes_the_errors_that_it_made(
    phoneme_moe: Callable[..., Outcome],
    tones: PreparedCorpus,
    tmp_path: Path,
    name: str,
    split: str,
) -> None:
    quality = read(FOLDER / name / "quality.json")
    expected = quality[split]
    assert expected["per_beam"] < expected["per"]
    beam = str(quality["beam"])
    found = _evaluate(phoneme_moe, name, tmp_path, "--split", split, "--beam", beam)
    assert found["utterances"] == expected["utterances"]
    assert found["per"] == pytest.approx(expected["per_beam"])


def _evaluate(
    phoneme_moe: Callable[..., Outcome], name: str, folder: Path, *options: str
) -> dict[str, Any]:
    written = folder / "evaluation.json"
    outcome = phoneme_moe("evaluate", FOLDER / name, "--json", written, *options)
    assert outcome.code == 0, outcome.err
    document: dict[str, Any] = read(written)
    return document


def test_a_run_with_another_spelling_of_its_phonemes_makes_the_same_errors(
    phoneme_moe: Callable[..., Outcome], tones: PreparedCorpus, tmp_path: Path
) -> None:
    """Runs made before there was a normal form keep the spelling of their corpus."""
    from phoneme_moe.corpora import load_corpus, prepare_corpus

    run = shutil.copytree(FOLDER / "gate", tmp_path / "run")
    for name in ("model.json", "decoding.json"):
        (run / name).write_text(json.dumps(_respelled(read(run / name)), ensure_ascii=False))
    prepare_corpus("lhotse", tiny.write_tones(tmp_path, symbols={"m": "ʧ"}), as_name="respelled")
    assert load_corpus("respelled").phonemes == ("a", "i", "s", "tʃ")
    for beam in ("0", "16"):
        scores = []
        for folder, corpus in ((FOLDER / "gate", tones.name), (run, "respelled")):
            written = tmp_path / f"{corpus}.json"
            options = ("--corpus", corpus, "--json", written, "--beam", beam)
            outcome = phoneme_moe("evaluate", folder, *options)
            assert outcome.code == 0, outcome.err
            scores.append(read(written)["by_speaker"])
        for speaker, score in scores[0].items():
            for key in ("substitutions", "insertions", "deletions", "phonemes"):
                assert score[key] == scores[1][speaker][key], (speaker, key)
    outcome = phoneme_moe("align", run, FOLDER / "carol.wav", "--phonemes", "a s i tʃ a")
    assert outcome.code == 0, outcome.err
    assert "\nt͡ʃ " in outcome.out
    outcome = phoneme_moe("transcribe", run, FOLDER / "carol.wav", "--symbols", "xsampa")
    assert outcome.out.endswith("\ta s i tS a\n"), outcome.err


def _respelled(document: Any) -> Any:
    """The document with ``t͡ʃ`` for the phoneme ``m``, also in contexts of the n-gram."""
    if isinstance(document, dict):
        return {_respelled(key): _respelled(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_respelled(value) for value in document]
    if isinstance(document, str):
        return " ".join("t͡ʃ" if word == "m" else word for word in document.split(" "))
    return document
