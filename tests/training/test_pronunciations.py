"""The likeliest pronunciation by a model, and errors where any pronunciation is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import _with_closest_reference, evaluate
from phoneme_moe.inference import recognize_split
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.training.pronunciations import with_likeliest_pronunciations

OTHER = {"a": "i", "i": "m", "m": "s", "s": "a"}


def _with_wrong_first(example: Example) -> Example:
    """Every phoneme is a word; the right pronunciation of the first is its second."""
    p, *rest = example.phonemes
    words = (((OTHER[p],), (p,), (OTHER[OTHER[p]],)), *(((q,),) for q in rest))
    first = tuple(word[0][0] for word in words)
    return replace(example, phonemes=first, pronunciations=words)


@pytest.mark.slow
def test_a_trained_model_chooses_what_was_spoken(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "train", run.recognizer)
    right = {
        u.example.utterance
        for u in recognize_split(run.recognizer, examples)
        if tuple(u.hypothesis) == u.example.phonemes
    }
    assert len(right) > 5
    spoken = [example for example in examples if example.utterance in right]
    confused = [_with_wrong_first(example) for example in spoken]
    chosen = with_likeliest_pronunciations(run.recognizer, confused)
    correct = total = 0
    for example, choice in zip(spoken, chosen, strict=True):
        total += 1
        correct += choice.phonemes == example.phonemes
    assert correct / total > 0.9
    assert not run.recognizer.training


@pytest.mark.slow
def test_examples_without_alternatives_stay_as_they_are(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "dev", run.recognizer)
    unchanged = with_likeliest_pronunciations(run.recognizer, examples)
    assert [e.phonemes for e in unchanged] == [e.phonemes for e in examples]


def test_the_closest_reference_replaces_the_first_pronunciations() -> None:
    words = ((("a",), ("i", "m")), (("s",),))
    example = Example("u", "ann", ("a", "s"), torch.empty(0), pronunciations=words)
    assert _with_closest_reference(example, ["i", "m", "s"]).phonemes == ("i", "m", "s")
    assert _with_closest_reference(example, ["a"]).phonemes == ("a", "s")
    plain = replace(example, pronunciations=())
    assert _with_closest_reference(plain, ["i"]) is plain


@pytest.mark.slow
def test_a_corpus_with_a_lexicon_is_scored_against_any_pronunciation(
    recognized: Trained, tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    import phoneme_moe.evaluation.errors as module

    plain = evaluate(recognized.run)
    assert plain.any_pronunciation == {}
    assert "any_pronunciation" not in plain.to_json()

    def loaded(*arguments: object) -> list[Example]:
        return [_with_wrong_first(e) for e in load_examples(*arguments)]

    monkeypatch.setattr(module, "load_examples", loaded)
    scored = evaluate(recognized.run)
    assert scored.total.error_rate > plain.total.error_rate
    assert scored.to_json()["any_pronunciation"]["all"] <= plain.total.error_rate


@pytest.mark.slow
def test_a_second_stage_may_train_on_the_likeliest(tones: PreparedCorpus, tmp_path: Path) -> None:
    stages = (
        "training.stages=[{name: first, train: [encoder], epochs: 1, learning_rate: 0.01},"
        "{name: second, train: [encoder], epochs: 1, learning_rate: 0.01,"
        " pronunciations: likeliest}]"
    )
    recipe = tiny.RECIPES / "tiny_sparse.yaml"
    assert train(recipe, tmp_path / "run", changes=[stages], device="cpu").evaluation
    with pytest.raises(InputError, match=r"pronunciations: found likeliest, but there is no stage"):
        load_recipe(recipe, ["training.stages.joint.pronunciations=likeliest"])
