from __future__ import annotations

import numpy as np
import pytest
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.collect.observe import observe
from phoneme_moe.report.expert_ablation import ablate_experts, sample


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_an_ablation_is_what_evaluate_measures_without_the_expert(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    run = request.getfixturevalue(fixture).run
    plain = evaluate(run)
    speakers = tuple(plain.by_speaker)  # evaluate leaves out those that the recipe does not name
    examples = load_examples(run.recipe, tones, "test", run.recognizer, speakers)
    scores = {one.example.utterance: one.score for one in observe(run.recognizer, examples)}
    ablations = ablate_experts(run.recognizer, examples, scores, None)
    assert ablations.base_error_rate == pytest.approx(plain.total.error_rate)
    assert ablations.num_utterances == len(examples)
    assert ablations.experts is not None
    for ablation in ablations.experts:
        without = evaluate(run, override=RoutingOverride(3, without=(ablation.expert,)))
        change = without.against(plain)
        assert ablation.change == pytest.approx(change.difference)
        assert ablation.error_rate == pytest.approx(without.total.error_rate)
        assert ablation.interval[0] <= ablation.change <= ablation.interval[1]
        np.testing.assert_allclose(ablation.interval, change.interval, atol=0.03)
        for speaker, score in without.by_speaker.items():
            before = plain.by_speaker[speaker].error_rate
            assert ablation.by_speaker[speaker] == pytest.approx(score.error_rate - before)
    uniform = evaluate(run, override=RoutingOverride(3, shares=(1 / 3,) * 3)).against(plain)
    assert ablations.uniform is not None
    removal = ablations.removal_of([*speakers, "nobody"])
    assert removal is not None
    assert [len(one.by_speaker) for one in removal] == [len(speakers) + 1] * 3
    assert {one.by_speaker[-1] for one in removal} == {None}
    assert ablations.uniform.change == pytest.approx(uniform.difference)


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
            recognition = run.recognizer(
                one.example.features[None],
                torch.ones(1, len(one.example.features), dtype=torch.bool),
            )
        assert recognition.expert_log_posteriors is not None
        row = int(np.flatnonzero(spoken)[0])
        target = one.routing.phoneme[row] + 1  # behind the blank
        joint = recognition.expert_log_posteriors[0, row, :, target].exp().numpy() * weights[row]
        np.testing.assert_allclose(credit[row], joint / joint.sum(), atol=1e-4)
        emitted = recognition.log_posteriors[0].argmax(dim=-1).numpy() > 0
        np.testing.assert_array_equal(one.routing.judged, emitted)
        assert not (one.routing.right & ~emitted).any()


def test_edges_are_first_and_last_rows_of_phonemes(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    run = recognized.run
    examples = load_examples(run.recipe, tones, "test", run.recognizer)[:6]
    for one in observe(run.recognizer, examples):
        numbers = list(one.spoken)
        for row, edge in enumerate(one.routing.edge):
            rows = [i for i, number in enumerate(numbers) if number == numbers[row]]
            assert edge == (numbers[row] >= 0 and row in (rows[0], rows[-1]))
            phoneme = [*one.example.phonemes, None][numbers[row]]
            known = one.routing.phoneme[row]
            assert phoneme == (None if known < 0 else run.recognizer.phonemes.symbols[known])


def test_one_expert_cannot_be_ablated(recognized: Trained, tones: PreparedCorpus) -> None:
    from phoneme_moe.model.recognizer import Recognizer

    recipe = recognized.run.recipe
    model = recipe.model.model_copy(update={"gate": None})
    alone = Recognizer(recipe.features, recipe.task, model, tones.phonemes, ("all",)).eval()
    examples = load_examples(recipe, tones, "test", alone)[:2]
    scores = {one.example.utterance: one.score for one in observe(alone, examples)}
    ablations = ablate_experts(alone, examples, scores, None)
    assert ablations.refusal == "there is one expert"
    assert ablations.removal_of(["ann"]) is None
