from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.decoding.scoring import score_utterance, total_score
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.pipeline import Trained

COUNTS = ("errors", "substitutions", "insertions", "deletions", "phonemes", "utterances")
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "evaluation.schema.json"


@pytest.mark.parametrize(
    ("fixture", "measure"), [("recognized", "per"), ("classified", "accuracy")]
)
def test_figures_of_an_evaluation_agree_with_each_other(
    fixture: str, measure: str, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    data = json.loads((trained.run.folder / "evaluation.json").read_text())
    jsonschema.validate(data, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    assert {"version", "recipe", "corpus", "split", "task", "fold"} <= data.keys()
    for scores in (data, *data["by_speaker"].values()):
        assert scores["errors"] == sum(scores[k] for k in COUNTS[1:4])
        rate = scores["errors"] / scores["phonemes"]
        assert scores[measure] == pytest.approx(1 - rate if measure == "accuracy" else rate)
        low, high = scores["interval"]
        assert low <= scores[measure] + 1e-12
        assert scores[measure] <= high + 1e-12
    for key in COUNTS:
        assert data[key] == sum(scores[key] for scores in data["by_speaker"].values()), key
    counted = sum(confusion["count"] for confusion in data["confusions"])
    assert counted == data["substitutions"]
    assert f"{len(trained.run.recognizer.phonemes.symbols)} phonemes" in data["fold"]


def test_only_the_recipes_speakers_are_tested_and_the_unseen_are_marked(
    recognized: Trained, classified: Trained
) -> None:
    assert list(recognized.evaluation.by_speaker) == ["ann", "bob", "carol"]
    assert recognized.evaluation.unseen == ()
    assert list(classified.evaluation.by_speaker) == ["ann", "bob", "carol", "dan"]
    assert classified.evaluation.unseen == ("dan",)


def test_an_evaluation_is_the_score_of_each_utterance_alone(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    speakers = ["ann", "bob", "carol"]
    examples = load_examples(run.recipe, tones, "test", run.recognizer, speakers)
    scores = []
    for example in examples:
        # One at a time: no padding, no neighbours.
        ((_, recognition),) = recognize_examples(run.recognizer, [example])
        hypothesis = decode_phonemes(run.recognizer, recognition)[0]
        scores.append(score_utterance(example.phonemes, hypothesis))
    alone = total_score(scores)
    together = evaluate(run).total
    assert (alone.substitutions, alone.insertions, alone.deletions) == (
        together.substitutions,
        together.insertions,
        together.deletions,
    )


def test_batches_change_no_posterior(recognized: Trained, tones: PreparedCorpus) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)
    posteriors: dict[str, list[torch.Tensor]] = {}
    for size in (1, 128):
        for batch, recognition in recognize_examples(run.recognizer, examples, batch_size=size):
            frames = recognition.routing.mask.sum(dim=1).tolist()
            for row, example in enumerate(batch.examples):
                real_frames = recognition.log_posteriors[row, : frames[row]]
                posteriors.setdefault(example.utterance, []).append(real_frames)
    assert len(posteriors) == len(examples)
    for alone, together in posteriors.values():
        torch.testing.assert_close(alone, together, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_one_expert_alone_is_scored_with_its_own_posteriors(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    run = request.getfixturevalue(fixture).run
    wanted = [*(run.recipe.corpus.speakers or tones.speakers)]
    examples = load_examples(run.recipe, tones, "test", run.recognizer, wanted)
    rates = set()
    for index, name in enumerate(run.recognizer.expert_names):
        scores = []
        with torch.no_grad():
            for example in examples:
                features = example.features[None]
                mask = torch.ones(features.shape[:2], dtype=torch.bool)
                recognition = run.recognizer(features, mask, torch.tensor([index]))
                hypothesis = decode_phonemes(run.recognizer, recognition)[0]
                scores.append(score_utterance(example.phonemes, hypothesis))
        alone = evaluate(run, expert=name).total
        assert alone.error_rate == pytest.approx(total_score(scores).error_rate)
        rates.add(alone.error_rate)
    assert len(rates) > 1


def test_evaluating_again_gives_the_same(recognized: Trained) -> None:
    assert evaluate(recognized.run) == recognized.evaluation


def test_every_split_can_be_evaluated(recognized: Trained) -> None:
    counts = {s: evaluate(recognized.run, s).total.num_utterances for s in ("train", "dev", "test")}
    assert counts == {"train": 72, "dev": 9, "test": 9}


def test_a_split_or_corpus_that_does_not_exist_is_refused(recognized: Trained) -> None:
    with pytest.raises(InputError, match="did you mean 'test'"):
        evaluate(recognized.run, "tests")
    with pytest.raises(InputError, match="'tonnes' is unknown"):
        evaluate(recognized.run, corpus="tonnes")


def test_an_expert_that_does_not_exist_is_refused(recognized: Trained) -> None:
    with pytest.raises(InputError, match="did you mean 'ann'"):
        evaluate(recognized.run, expert="anne")


def test_another_corpus_may_have_phonemes_and_speakers_that_the_model_does_not_know(
    recognized: Trained, foreign: PreparedCorpus
) -> None:
    evaluation = evaluate(recognized.run, corpus=foreign.name)
    assert evaluation.corpus == foreign.name
    assert evaluation.unseen == tuple(evaluation.by_speaker)
    unknown = sum(
        phoneme == "o"
        for cut in foreign.cuts("test")
        for phoneme in cut.supervisions[0].custom["phonemes"]
    )
    assert unknown > 0
    assert evaluation.total.substitutions + evaluation.total.deletions >= unknown


def test_speakers_are_known_in_one_of_several_corpora_and_among_more(
    recognized: Trained, tones: PreparedCorpus, foreign: PreparedCorpus
) -> None:
    both = f"{tones.name}+{foreign.name}"
    evaluation = evaluate(recognized.run, corpus=both)
    known = {f"{tones.name}/{name}" for name in ("ann", "bob", "carol")}
    assert set(evaluation.by_speaker) - set(evaluation.unseen) == known
    section = recognized.run.recipe.corpus.model_copy(
        update={"name": both, "speakers": None, "held_out_speakers": (f"{tones.name}/bob",)}
    )
    run = replace(
        recognized.run, recipe=recognized.run.recipe.model_copy(update={"corpus": section})
    )
    assert evaluate(run, corpus=tones.name).unseen == ("bob",)
    assert evaluate(run, corpus=both).unseen == (f"{tones.name}/bob",)


def test_a_corpus_without_any_phoneme_of_the_model_is_refused(
    recognized: Trained, alien: PreparedCorpus
) -> None:
    with pytest.raises(InputError, match="phoneme"):
        evaluate(recognized.run, corpus=alien.name)
