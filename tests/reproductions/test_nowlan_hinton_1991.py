from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")

from phoneme_moe_reproductions.nowlan_hinton_1991 import EXPERIMENT
from phoneme_moe_reproductions.nowlan_hinton_1991.findings import commonest_expert_shares
from phoneme_moe_reproductions.nowlan_hinton_1991.jobs import (
    gaussians_by_speaker,
    on_splits,
    plan,
    run,
)
from phoneme_moe_reproductions.nowlan_hinton_1991.systems import (
    CHECK_EVERY,
    SYSTEMS,
    MixtureShape,
    build,
    train,
    wrong_cases,
    wrong_cases_of_chosen,
)
from phoneme_moe_reproductions.nowlan_hinton_1991.tokens import (
    HELD_OUT,
    SIDES,
    TEST,
    divide,
    tokens,
)
from phoneme_moe_reproductions.perceptrons import Perceptron, PerceptronMixture


def test_the_cases_are_ten_vowels_twice_by_75_speakers() -> None:
    cases = tokens()
    assert len(cases.vowel) == 75 * 20
    assert torch.bincount(cases.vowel).tolist() == [150] * 10
    assert [int((cases.group == g).sum()) for g in "mwc"] == [32, 28, 15]
    # Enrolment cases are the speaker's tokens, one of each of the first three vowels.
    assert torch.equal(cases.speaker[cases.enrolment], torch.arange(75)[:, None].expand(75, 3))
    assert torch.equal(cases.vowel[cases.enrolment], torch.arange(3).expand(75, 3))


def test_a_side_input_is_the_same_for_all_tokens_of_a_speaker() -> None:
    cases = tokens()
    first = cases.formants[cases.speaker == 7]
    side_inputs = cases.side("both")[cases.speaker == 7]
    extent = first.max(dim=0).values - first.min(dim=0).values
    expected = torch.cat([first.mean(dim=0), extent])
    torch.testing.assert_close(side_inputs, expected.expand(20, 4))
    assert torch.equal(cases.side("speaker").argmax(dim=1), cases.speaker)


@pytest.mark.parametrize(
    ("side", "counts"), [("mean", {"m": 4, "w": 3, "c": 3}), ("speaker", {"m": 2, "w": 2, "c": 1})]
)
def test_speakers_of_all_groups_are_tested_and_nobody_is_in_two_parts(
    side: str, counts: dict[str, int]
) -> None:
    cases = tokens()
    part = divide(3, side)
    for which in (TEST, HELD_OUT):
        speakers = np.unique(cases.speaker.numpy()[part == which])
        assert (part[np.isin(cases.speaker.numpy(), speakers)] == which).all()
        assert {g: int((cases.group[speakers] == g).sum()) for g in counts} == counts
    assert not np.array_equal(part, divide(4, side))


def test_rows_make_the_networks_of_perceptrons() -> None:
    shape = MixtureShape(3, (2, 4, 5), (6, 2, 3))
    torch.manual_seed(0)
    rows, inputs, side_inputs = shape.initial(2, seed=0), torch.randn(7, 2), torch.randn(7, 6)
    log_weights, _ = shape(rows, inputs, side_inputs)
    torch.testing.assert_close(log_weights.exp(), torch.full((2, 7, 3), 1 / 3))
    rows = torch.randn(rows.shape)
    network = PerceptronMixture(2, 3, 2, 5, 6, (4,), (2,))
    _fill(network.experts, network.gate, rows=rows, copies=(3, 1))
    expected = network(inputs, side_inputs)
    log_weights, outputs = shape(rows, inputs, side_inputs)
    torch.testing.assert_close(log_weights, expected[0])
    torch.testing.assert_close(outputs, expected[1].softmax(dim=-1))


def _fill(*networks: Perceptron, rows: torch.Tensor, copies: tuple[int, ...]) -> None:
    """Rows hold, for each layer and copy and output unit, its bias and then its weights."""
    place = 0
    for network, count in zip(networks, copies, strict=True):
        for layer in network.layers:
            _, before, after = layer.weight.shape
            size = count * (before + 1) * after
            enrolment = rows[:, place : place + size].reshape(-1, after, before + 1)
            place += size
            with torch.no_grad():
                layer.bias.copy_(enrolment[:, None, :, 0])
                layer.weight.copy_(enrolment[:, :, 1:].transpose(1, 2))
    assert place == rows.shape[1]


@pytest.mark.parametrize("name", ["mixture", "net", "net, 1991"])
def test_cases_without_weight_teach_nothing_and_training_lowers_the_error(name: str) -> None:
    system = SYSTEMS[name]
    task = build(system, "mean")
    weights = torch.ones(2, len(tokens().vowel))
    weights[1, 700:] = 0
    both, loss = train(system, task, weights, 20)
    assert loss.shape == (2,)
    assert len(both) == (1 if system.quasi_newton else 20 // CHECK_EVERY)
    # The same with other targets where the weight is 0: all runs have the same cases.
    cases = tokens()
    kept = cases.targets.clone()
    try:
        cases.targets[700:] = cases.targets[700:].roll(1, dims=1)
        other, _ = train(system, task, weights, 20)
    finally:
        cases.targets.copy_(kept)
    torch.testing.assert_close(other[-1][1], both[-1][1])
    assert not torch.allclose(other[-1][0], both[-1][0])
    before = task.shape.initial(2, seed=0)
    assert bool(
        (
            wrong_cases(task, both[-1]).float().mean(1) < wrong_cases(task, before).float().mean(1)
        ).all()
    )


def test_an_unseen_speaker_gets_the_expert_that_fits_the_enrolment_cases() -> None:
    cases = tokens()
    task = build(SYSTEMS["mixture"], "speaker")
    rows = task.shape.initial(3, seed=1)
    wrong = wrong_cases_of_chosen(task, rows, cases.enrolment)
    _, outputs = task.shape(rows, task.inputs, task.gate_inputs)
    for at, speaker in ((0, 0), (2, 74)):
        enrolment = cases.enrolment[speaker]
        misses = [
            float((outputs[at, enrolment, expert] - cases.targets[enrolment]).square().sum())
            for expert in range(10)
        ]
        vowel = outputs[at, :, int(np.argmin(misses))].argmax(dim=-1)
        mine = cases.speaker == speaker
        assert torch.equal(wrong[at][mine], (vowel != cases.vowel)[mine])


def test_how_long_to_train_does_not_depend_on_test_speakers() -> None:
    system = SYSTEMS["net"]
    result = on_splits(system, build(system, "mean"), "mean", 2, 40)
    cases, test = tokens(), torch.tensor(divide(0, "mean") == TEST)
    kept = cases.vowel.clone()
    try:
        # Other labels of the first split's test speakers change only its test errors.
        cases.vowel[test] = (cases.vowel[test] + 1) % 10
        other = on_splits(system, build(system, "mean"), "mean", 1, 40)
    finally:
        cases.vowel.copy_(kept)
    assert other["iterations"][0] == result["iterations"][0]
    assert other["test"][0] > result["test"][0]
    assert other["train"][0] == pytest.approx(result["train"][0], abs=0.2)


def test_gaussians_need_to_know_the_speaker() -> None:
    generator = np.random.default_rng(0)
    speaker = np.arange(400) % 2
    vowel = generator.integers(0, 2, 400)
    # Two kinds of speakers in whose formants the same place is another vowel.
    place = np.where(speaker == vowel, 0.0, 1.0)
    formants = np.stack([place, place], axis=1) + generator.normal(scale=0.1, size=(400, 2))
    side_inputs = (2.0 * speaker - 1)[:, None]
    training = np.arange(400) < 200
    classes = gaussians_by_speaker(formants, side_inputs, vowel, training, clusters=2)
    guessed = gaussians_by_speaker(formants, None, vowel, training, clusters=2)
    assert (classes == vowel)[~training].mean() > 0.99
    assert (guessed == vowel)[~training].mean() < 0.7


def test_shares_count_the_commonest_expert_of_a_group() -> None:
    experts = np.zeros(75, dtype=int)
    experts[tokens().group == "c"] = np.arange(15) % 3
    shares = commonest_expert_shares([experts.tolist()])
    assert shares["m"] == shares["w"] == [100.0]
    assert shares["c"] == [pytest.approx(100 / 3)]


@pytest.mark.slow
def test_results_give_tables_claims_and_figures(tmp_path: Path) -> None:
    jobs = plan(2, True)
    assert len({job.key for job in jobs}) == len(jobs)
    by_key = {job.key: job for job in jobs}
    assert "net_speaker_table_4" not in by_key
    # One short run of each table stands for all.
    short = {"side": "speaker", "system": "mixture", "runs": 2, "iterations": 20}
    trained = run({**short, "table": 2})
    tested = run({**short, "table": 4})
    results = {
        key: trained if "table_2" in key else tested for key in by_key if key != "references"
    }
    results["references"] = run({"system": "references", "runs": 2})
    assert results == json.loads(json.dumps(results))
    outcome = EXPERIMENT.conclude(results)
    assert [table.name for table in outcome.tables] == ["table_2", "table_3", "table_4"]
    for table in outcome.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert [row[0] for row in outcome.tables[0].rows] == list(SIDES.values())
    # Nets and mixtures have the same figures here: neither makes fewer errors.
    alike = [claim for claim in outcome.claims if "makes fewer errors on" in claim.statement]
    assert len(alike) == 8
    assert not any(claim.holds for claim in alike)
    names = EXPERIMENT.draw(results, tmp_path)
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
