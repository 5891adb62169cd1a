"""Runs trained among all that could have been said: read by beam search wherever they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import numpy as np
import pytest
import tiny
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.batches import collate
from phoneme_moe.data.examples import load_examples
from phoneme_moe.decoding.decoder import BestSearch, Decoding
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.evaluation.calibrate import (
    FAST_BEAMS,
    MAX_LOSS,
    WIDE_BEAM,
    _choose_fast_beam,
)
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.evaluation.split_outputs import SplitOutputs
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.run_folder import load_run
from phoneme_moe.training.module import DEV_BEAM, StageModule
from phoneme_moe.training.objectives import VIEWS, inconsistency
from phoneme_moe.training.stages import build_recognizer
from phoneme_moe.transcription import windowing
from phoneme_moe.transcription.export import export_onnx
from phoneme_moe.transcription.onnx_engine import OnnxEngine
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.recording import record
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import transcribe_file
from phoneme_moe.transcription.transcript import Transcript

if TYPE_CHECKING:
    from conftest import Outcome

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
CRF = "training.stages.joint.objective=crf"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def crf(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SPARSE, tmp_path_factory.mktemp("runs") / "crf", changes=[CRF], device="cpu")


def test_it_learns_and_is_read_with_its_beam(crf: Trained) -> None:
    assert crf.evaluation.total.error_rate < 0.2
    loaded = load_run(crf.run.folder)
    decoding = loaded.decoding
    assert decoding == loaded.recognizer.decoding == crf.run.decoding
    assert decoding.beam == crf.evaluation.beam in FAST_BEAMS
    assert decoding.minimum_bayes_risk
    assert decoding.shifts_for(None) == 1
    assert evaluate(loaded).total == evaluate(loaded, beam=decoding.beam).total
    assert evaluate(loaded).total == crf.evaluation.total
    plain = evaluate(loaded, beam=0)
    assert plain.beam is None
    quality = json.loads((crf.run.folder / "quality.json").read_text())
    assert plain.total.error_rate == pytest.approx(quality["test"]["per"])
    assert crf.evaluation.total.error_rate == pytest.approx(quality["test"]["per_beam"])
    best = evaluate(loaded, best=True)
    assert best.beam == WIDE_BEAM
    assert best.total.error_rate == pytest.approx(quality["test"]["per_best"])
    assert quality["dev"]["per_beam"] <= quality["dev"]["per_best"] * (1 + MAX_LOSS)


def test_the_best_search_is_wide_and_shifted(crf: Trained) -> None:
    best = crf.run.decoding.with_best()
    assert (best.beam, best.minimum_bayes_risk, best.best) == (WIDE_BEAM, True, None)
    assert best.shifts_for(None) == crf.run.recognizer.stack == 2
    assert best.with_best() == best


@pytest.mark.parametrize(("errors", "beam"), [([9, 5, 1], 32), ([1], 8), ([9] * 5, 128)])
def test_the_narrowest_beam_that_is_about_as_good_is_the_default(
    errors: list[int], beam: int
) -> None:
    class Dev:
        """One error in a hundred with the best search; the list has those of other beams."""

        def decode(self, decoding: Decoding, beam: int | None = None) -> int:
            return 1 if beam is None else errors[FAST_BEAMS.index(beam)]

        def error_rate(self, errors: int) -> float:
            return errors / 100

    decoding = Decoding(best=BestSearch(WIDE_BEAM))
    assert _choose_fast_beam(cast("SplitOutputs", Dev()), decoding) == beam


def test_files_hold_to_their_schemas(crf: Trained) -> None:
    for name in ("decoding", "evaluation", "quality"):
        found = json.loads((crf.run.folder / f"{name}.json").read_text())
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
        jsonschema.validate(found, schema, jsonschema.Draft202012Validator)


def test_dev_is_read_with_the_trigram_of_training(crf: Trained, tones: PreparedCorpus) -> None:
    recipe = load_recipe(SPARSE, [CRF])
    recognizer = crf.run.recognizer
    train_examples = load_examples(recipe, tones, "train", recognizer)
    dev = load_examples(recipe, tones, "dev", recognizer)
    said = [example.phonemes for example in train_examples]
    ngram = PhonemeNgram.estimate(said, recognizer.phonemes.symbols, 3)
    decoding = Decoding(language_model=ngram, lm_weight=1.0, beam=DEV_BEAM)
    errors = phonemes = 0
    for batch, recognition in recognize_examples(recognizer, dev):
        read = decode_phonemes(recognizer, recognition, decoding)
        for example, hypothesis in zip(batch.examples, read, strict=True):
            score = score_utterance(example.phonemes, hypothesis)
            errors, phonemes = errors + score.errors, phonemes + score.num_reference
    rows = read_rows(crf.run.folder / "metrics.csv")
    assert min(row["dev_error"] for row in rows) == pytest.approx(errors / phonemes)


def test_every_phase_is_the_same_sound_a_frame_later(crf: Trained, tones: PreparedCorpus) -> None:
    recognizer = crf.run.recognizer
    examples = load_examples(crf.run.recipe, tones, "test", recognizer)[:5]
    ((_, said),) = recognize_examples(recognizer, examples, num_shifts=2)
    later = [replace(own, features=torch.cat([own.features[:1], own.features])) for own in examples]
    ((_, expected),) = recognize_examples(recognizer, later)
    (found,) = said.shifted
    real = expected.routing.mask
    assert torch.equal(found.routing.mask, real)
    torch.testing.assert_close(found.log_posteriors[real], expected.log_posteriors[real])


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("window", [0.5, 1.23])
def test_long_recordings_are_heard_in_every_phase_whatever_the_seams(
    crf: Trained, window: float, odd: int
) -> None:
    engine = RunEngine(crf.run)
    front_end = engine.spec.front_end()
    sound, _ = tiny.speak(list("asimasasi"), "ann", np.random.default_rng(3))
    hop = round(front_end.frame_seconds * tiny.RATE)
    length = (len(sound) // (2 * hop)) * 2 * hop - odd * hop
    long = record(sound[:length].astype(np.float32), Path("long.wav"), front_end)
    (whole,) = windowing.infer(engine, [long], num_shifts=2)
    (found,) = windowing.infer(engine, [long], num_shifts=2, batch_frames=10, window_seconds=window)
    assert len(whole.shifted) == 1
    assert whole.shifted[0].shape[1] == -(-(long.num_frames + 1) // 2)
    for name in ("log_posteriors", "weights"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=1e-4)
    np.testing.assert_allclose(found.shifted[0], whole.shifted[0], atol=1e-4)
    features = long.features()
    features = np.concatenate([features[:1], features])
    expected = engine.infer(features[None], np.array([len(features)])).log_posteriors
    np.testing.assert_allclose(whole.shifted[0], expected, atol=1e-5)


def test_pieces_of_a_hearing_are_all_of_it(crf: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = RunEngine(crf.run)
    engine.spec = engine.spec.with_best_search()
    sound, _ = tiny.speak(list("asimasasi"), "ann", np.random.default_rng(3))
    front_end = engine.spec.front_end()
    hop = round(front_end.frame_seconds * tiny.RATE)
    recordings = [
        record(sound[: len(sound) - cut].astype(np.float32), Path("a.wav"), front_end)
        for cut in (0, hop)
    ]
    assert {own.num_frames % 2 for own in recordings} == {0, 1}
    heard = windowing.infer(engine, recordings, num_shifts=2)
    searched: list[np.ndarray] = []
    search = Decoding.search

    def spied(self: Decoding, said: Any, num: Any, beam: int, nbest: int, shifted: Any) -> Any:
        ((posteriors, frames),) = shifted
        searched.extend(row[:n] for row, n in zip(posteriors, frames, strict=True))
        return search(self, said, num, beam, nbest, shifted)

    monkeypatch.setattr(Decoding, "search", spied)
    decode(heard, engine.spec, piece_seconds=0.4)
    assert len(searched) > len(heard)
    every = np.concatenate([own.shifted[0][0] for own in heard])
    found = np.concatenate(searched)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(every, axis=0))


def test_files_are_read_as_the_corpus_is(
    crf: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    """The same phonemes from a run, from the file it is exported to, and in evaluation."""
    path = tmp_path / "crf.onnx"
    export_onnx(crf.run, path)
    scores = evaluate(crf.run).utterances
    engines = RunEngine(crf.run), OnnxEngine(path)
    assert engines[1].spec.decoding == crf.run.decoding
    for cut in tones.cuts("test")[:10]:
        sound = Path(cut.recording.sources[0].source)
        mine, theirs = (transcribe_file(engine, sound).phonemes for engine in engines)
        assert mine == theirs
        truth = cut.supervisions[0].custom["phonemes"]
        assert score_utterance(truth, list(mine)).errors == scores[cut.id].errors


def test_a_step_makes_what_was_said_likelier_among_all(tones: PreparedCorpus) -> None:
    recipe = load_recipe(SPARSE, [CRF, "training.augmentation={}"])
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer)[:8]
    ngram = PhonemeNgram.estimate([e.phonemes for e in examples], recognizer.phonemes.symbols, 3)
    module = StageModule(recognizer, recipe, 0, ngram)
    module.recognizer.eval()
    batch = collate(examples, recognizer, {name: i for i, name in enumerate(["encoder"])})
    optimizer = torch.optim.SGD(recognizer.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        loss = module.loss(module.recognize(batch, batch.features, batch.mask), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


def test_a_step_with_two_views_decreases_the_loss_and_their_divergence(
    tones: PreparedCorpus,
) -> None:
    """The same two views in every step."""
    recipe = load_recipe(SPARSE, [CRF, "training.stages.joint.consistency=0.5"])
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer)[:8]
    ngram = PhonemeNgram.estimate([e.phonemes for e in examples], recognizer.phonemes.symbols, 3)
    module = StageModule(recognizer, recipe, 0, ngram)
    module.recognizer.eval()
    batch = collate(examples, recognizer, {"encoder": 0})
    features, mask = module.augment(batch.features, batch.mask, VIEWS)
    twice = batch.repeated(VIEWS)
    optimizer = torch.optim.SGD(recognizer.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        recognition = module.recognize(twice, features, mask)
        loss = module.loss(recognition, twice)
        assert loss - 0.5 * inconsistency(recognition, twice) < loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_a_run_with_two_views_learns(tones: PreparedCorpus, tmp_path: Path) -> None:
    changes = [CRF, "training.stages.joint.consistency=0.2"]
    trained = train(SPARSE, tmp_path / "run", changes=changes, device="cpu")
    assert trained.evaluation.total.error_rate < 0.2


def test_commands_read_it_with_its_beam(
    crf: Trained, tones: PreparedCorpus, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    folder = crf.run.folder
    sound = tones.cuts("test")[0].recording.sources[0].source
    usual = phoneme_moe("transcribe", folder, sound, "--format", "json")
    assert usual.code == 0
    beam = str(crf.run.decoding.beam)
    with_beam = phoneme_moe("transcribe", folder, sound, "--beam", beam, "--format", "json")
    assert usual.out == with_beam.out
    best = phoneme_moe("transcribe", folder, sound, "--best", "--format", "json")
    assert best.code == 0
    phonemes = [s["phoneme"] for s in json.loads(best.out)["segments"]]
    assert phonemes == list(crf.run.transcribe(sound, best=True).phonemes)
    (again,) = crf.run.transcribe_files([sound], best=True)
    assert isinstance(again, Transcript)
    assert phonemes == list(again.phonemes)
    several = phoneme_moe("transcribe", folder, sound, "--nbest", "3", "--format", "json")
    assert several.code == 0
    assert "alternatives" in several.out
    greedy = ("--nbest", "3", "--beam", "0", "--format", "json")
    refused = phoneme_moe("transcribe", folder, sound, *greedy)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "--beam 0" in phoneme_moe("model", folder).out
    outcome = phoneme_moe("evaluate", folder, "--beam", "0", "--json", tmp_path / "plain.json")
    assert outcome.code == 0
    assert json.loads((tmp_path / "plain.json").read_text())["beam"] is None


def test_an_old_decoding_is_read_by_the_best_path() -> None:
    data = Decoding(beam=8).to_document().model_dump(mode="json")
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here").beam_for(None) == 8
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here").beam_for(3) == 3
    assert Decoding.from_document(DecodingDocument.parse(data, "here"), "here").beam_for(0) is None
    del data["beam"]
    assert (
        Decoding.from_document(DecodingDocument.parse(data, "here"), "here").beam_for(None) is None
    )
    assert replace(Decoding(), beam=4).beam_for(None) == 4
