from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.collect.observe import observe
from phoneme_moe.report.contribution import contribution_of
from phoneme_moe.report.removal import sample


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_removal_is_what_evaluate_finds_without_the_expert(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    run = request.getfixturevalue(fixture).run
    plain = evaluate(run)
    heard = tuple(plain.by_speaker)  # evaluate leaves out speakers that the recipe does not name
    examples = load_examples(run.recipe, tones, "test", run.recognizer, heard)
    scores = {one.example.utterance: one.score for one in observe(run.recognizer, examples)}
    found = contribution_of(run.recognizer, examples, scores, None)
    assert found.base_error_rate == pytest.approx(plain.total.error_rate)
    assert found.num_utterances == len(examples)
    assert found.removal is not None
    for own in found.removal:
        without = evaluate(run, override=RoutingOverride(3, without=(own.expert,)))
        change = without.against(plain)
        assert own.change == pytest.approx(change.difference)
        assert own.error_rate == pytest.approx(without.total.error_rate)
        assert own.interval[0] <= own.change <= own.interval[1]
        np.testing.assert_allclose(own.interval, change.interval, atol=0.03)
        for speaker, score in without.by_speaker.items():
            before = plain.by_speaker[speaker].error_rate
            assert own.by_speaker[speaker] == pytest.approx(score.error_rate - before)
    uniform = evaluate(run, override=RoutingOverride(3, shares=(1 / 3,) * 3)).against(plain)
    assert found.uniform is not None
    assert found.uniform.difference == pytest.approx(uniform.difference)


def test_a_sample_is_spread_over_speakers_and_within_bounds() -> None:
    examples = [
        Example(f"{speaker}-{n}", speaker, (), torch.zeros(100, 4))
        for speaker in "abc"
        for n in range(40)
    ]
    assert len(sample(examples, 5, frames=10**9)) == len(examples)
    few = sample(examples, 5, frames=15_000)
    assert 5 * sum(len(e.features) for e in few) <= 15_000
    assert {e.speaker for e in few} == set("abc")
    assert len(sample(examples, 5, frames=1)) == 3


def test_credit_is_the_experts_share_of_what_was_right(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)[:6]
    for one in observe(run.recognizer, examples):
        credit, weights = one.routing.credit, one.routing.weights
        assert credit is not None
        spoken = one.routing.phoneme >= 0
        np.testing.assert_allclose(credit[spoken].sum(axis=1), 1, atol=1e-5)
        assert (credit[~spoken] == 0).all()
        with torch.no_grad():
            said = run.recognizer(
                one.example.features[None],
                torch.ones(1, len(one.example.features), dtype=torch.bool),
            )
        assert said.expert_log_posteriors is not None
        row = int(np.flatnonzero(spoken)[0])
        target = one.routing.phoneme[row] + 1  # behind the blank
        own = said.expert_log_posteriors[0, row, :, target].exp().numpy() * weights[row]
        np.testing.assert_allclose(credit[row], own / own.sum(), atol=1e-4)
        right = said.log_posteriors[0].argmax(dim=-1).numpy() == one.routing.phoneme + 1
        np.testing.assert_array_equal(one.routing.right, right & spoken)


def test_edges_are_first_and_last_rows_of_phonemes(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)[:6]
    for one in observe(run.recognizer, examples):
        numbers = list(one.spoken)
        for row, edge in enumerate(one.routing.edge):
            own = [i for i, number in enumerate(numbers) if number == numbers[row]]
            assert edge == (numbers[row] >= 0 and row in (own[0], own[-1]))
            said = [*one.example.phonemes, None][numbers[row]]
            known = one.routing.phoneme[row]
            assert said == (None if known < 0 else run.recognizer.phonemes.symbols[known])


def test_one_expert_cannot_be_removed(recognized: Trained, tones: PreparedCorpus) -> None:
    from phoneme_moe.model.recognizer import Recognizer

    recipe = recognized.run.recipe
    model = recipe.model.model_copy(update={"gate": None})
    alone = Recognizer(recipe.features, recipe.task, model, tones.phonemes, ("all",)).eval()
    examples = load_examples(recipe, tones, "test", alone)[:2]
    scores = {one.example.utterance: one.score for one in observe(alone, examples)}
    found = contribution_of(alone, examples, scores, None)
    assert found.removal is None
    assert found.refusal == "there is one expert"
    assert replace(found, refusal=None).to_json(["ann"], None)["removal"] is None
