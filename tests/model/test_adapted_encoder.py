"""Experts that are adapters: zero adapters, one expert, permutations, company in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tiny
import torch
from encoders import FAMILIES, HIDDEN, LAYERS, write_encoder

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.features.encoder_folder import open_encoder_folder
from phoneme_moe.features.pretrained import HiddenStates, PretrainedFrontEnd
from phoneme_moe.mixture.networks.low_rank import LowRankExperts, MatrixExperts
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.model.adapted_encoder import AdaptedEncoder
from phoneme_moe.model.front_end import pin_encoders
from phoneme_moe.pipeline import train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.run import load

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")

EXPERTS = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {family: write_encoder(root / family, family) for family in FAMILIES}


def adapted(
    folder: Path,
    layers: str = "mix",
    num_experts: int = EXPERTS,
    rank: int | Literal["full"] = 4,
    adapted_layers: int | None = None,
) -> AdaptedEncoder:
    torch.manual_seed(0)
    opened = open_encoder_folder(str(folder))
    return AdaptedEncoder(
        str(folder),
        None,
        opened.config["model_type"],
        layers,
        LAYERS,
        HIDDEN,
        opened.feed_forward,
        num_experts,
        rank,
        adapted_layers,
    ).eval()


def trained(encoder: AdaptedEncoder) -> AdaptedEncoder:
    """The same with adapters and a gate that make a difference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return encoder


def noise(num_samples: int, seed: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def inputs_of(folder: Path, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    states = HiddenStates(open_encoder_folder(str(folder)), inputs_only=True)
    rows = [states.inputs(noise(n, seed)) for seed, n in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return padded, torch.arange(padded.shape[1]) < torch.tensor([len(r) for r in rows])[:, None]


@torch.no_grad()
def test_low_rank_experts_are_the_weighted_sum_of_their_products() -> None:
    experts = LowRankExperts(4, 6, 5, rank=2)
    inputs, weights = torch.randn(3, 7, 6), torch.rand(3, 4)
    assert not experts(inputs, weights).any()
    experts.up.normal_()
    maps = experts.up @ experts.down  # (E, O, I)
    expected = torch.stack(
        [inputs[b] @ sum(w * m for w, m in zip(weights[b], maps, strict=True)).T for b in range(3)]
    )
    torch.testing.assert_close(experts(inputs, weights), expected)


def test_an_expert_without_weight_is_not_computed() -> None:
    experts = LowRankExperts(3, 6, 5, rank=2)
    with torch.no_grad():
        experts.up.normal_()
        experts.down[1] = torch.nan
    weights = torch.tensor([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    output = experts(torch.randn(2, 7, 6), weights)
    assert bool(output.isfinite().all())


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_adapters_at_zero_equal_the_frozen_encoder(folders: dict[str, Path], family: str) -> None:
    encoder = adapted(folders[family])
    sound = noise(9_000)
    frozen = PretrainedFrontEnd(str(folders[family]), None, "mix", HIDDEN * (LAYERS + 1), LAYERS)
    expected = frozen.encode(sound)
    inputs = encoder.hidden_states.inputs(sound)[None]
    mask = torch.ones(inputs.shape[:2], dtype=torch.bool)
    states, log_weights = encoder(inputs, mask)
    torch.testing.assert_close(states[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_weights.exp(), torch.full((1, EXPERTS), 1 / EXPERTS))
    changed, _ = trained(encoder)(inputs, mask)
    assert float((changed - states).abs().max()) > 1e-3


@pytest.mark.parametrize("rank", [4, "full"])
@torch.no_grad()
def test_adapters_of_the_last_layer_leave_the_layers_below_alone(
    folders: dict[str, Path], rank: int | Literal["full"]
) -> None:
    encoder = adapted(folders["whisper"], "mix", rank=rank, adapted_layers=1)
    inputs, mask = inputs_of(folders["whisper"], 3_200)
    before, _ = encoder(inputs, mask)
    after, _ = trained(encoder)(inputs, mask)
    lower = LAYERS * HIDDEN
    assert torch.equal(after[..., :lower], before[..., :lower])
    assert float((after[..., lower:] - before[..., lower:]).abs().max()) > 1e-3


@torch.no_grad()
def test_matrices_beside_a_map_are_a_change_of_the_map() -> None:
    experts = MatrixExperts(2, 6, 5)
    inputs, weights = torch.randn(3, 7, 6), torch.tensor([[1.0, 0], [0, 1], [0.25, 0.75]])
    assert not experts(inputs, weights).any()
    experts.matrix.normal_()
    first, second = experts.matrix
    expected = [first, second, 0.25 * first + 0.75 * second]
    torch.testing.assert_close(
        experts(inputs, weights),
        torch.stack([row @ of.T for row, of in zip(inputs, expected, strict=True)]),
    )


@torch.no_grad()
def test_the_matrix_of_a_single_expert_is_scaled_by_its_weight() -> None:
    experts = MatrixExperts(1, 6, 5)
    experts.matrix.normal_()
    inputs, weights = torch.randn(3, 7, 6), torch.tensor([[1.0], [0.5], [0]])
    torch.testing.assert_close(
        experts(inputs, weights), weights[:, None] * (inputs @ experts.matrix[0].T)
    )


def test_fine_tuning_has_a_gradient_for_every_map(folders: dict[str, Path]) -> None:
    encoder = adapted(folders["whisper"], "last", num_experts=1, rank="full")
    states, _ = encoder(*inputs_of(folders["whisper"], 3_200))
    states.square().mean().backward()
    for adapter in encoder.adapters.values():
        assert float(adapter.matrix.grad.abs().max()) > 0


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_company_in_a_batch_changes_nothing(folders: dict[str, Path], family: str) -> None:
    encoder = trained(adapted(folders[family], "last"))
    inputs, mask = inputs_of(folders[family], 6_400, 3_200, 6_400, 1_000)
    together, log_weights = encoder(inputs, mask)
    for row in range(4):
        real = slice(int(mask[row].sum()))
        alone, weights = encoder(inputs[row : row + 1, real], mask[row : row + 1, real])
        torch.testing.assert_close(together[row, real], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(log_weights[row], weights[0], rtol=1e-4, atol=1e-5)
        assert not together[row, real.stop :].any()


@torch.no_grad()
def test_an_expert_is_chosen_by_index_by_override_and_by_a_certain_gate(
    folders: dict[str, Path],
) -> None:
    encoder = trained(adapted(folders["whisper"], "last"))
    inputs, mask = inputs_of(folders["whisper"], 3_200, 3_200)
    by_index, log_weights = encoder(inputs, mask, torch.tensor([2, 0]))
    assert torch.equal(log_weights.exp(), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
    only, _ = encoder(inputs, mask, override=RoutingOverride(EXPERTS, only=(2,)))
    torch.testing.assert_close(only[0], by_index[0])
    assert encoder.gate is not None
    encoder.gate.weight.zero_()
    encoder.gate.bias.copy_(torch.tensor([-1e4, -1e4, 0.0]))
    certain, _ = encoder(inputs, mask)
    torch.testing.assert_close(certain[0], by_index[0])
    _, log_weights = encoder(inputs, mask, torch.tensor([-1, 1]))
    torch.testing.assert_close(log_weights[0].exp(), torch.full((EXPERTS,), 1 / EXPERTS))


@torch.no_grad()
def test_experts_permuted_with_their_rows_of_the_gate_change_nothing(
    folders: dict[str, Path],
) -> None:
    encoder = trained(adapted(folders["hubert"], "last"))
    inputs, mask = inputs_of(folders["hubert"], 4_000)
    before, log_weights = encoder(inputs, mask)
    order = torch.tensor([2, 0, 1])
    for parameter in encoder.parameters():
        parameter.copy_(parameter[order])
    after, permuted = encoder(inputs, mask)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(permuted[0], log_weights[0, order])


@torch.no_grad()
def test_long_inputs_are_encoded_in_the_windows_of_the_front_end(
    folders: dict[str, Path],
) -> None:
    folder = folders["whisper"]
    sound = noise(16_000 * 47)
    inputs, mask = inputs_of(folder, len(sound))
    states, _ = adapted(folder, "last")(inputs, mask)
    assert states.shape[1] == len(sound) // 320
    encoder = adapted(folder, "last").hidden_states
    window = encoder.states(inputs[:, 15 * 50 : 45 * 50])[:, :, -1]
    torch.testing.assert_close(states[:, 20 * 50 : 40 * 50], window[:, 5 * 50 : 25 * 50])


def test_the_gate_and_the_experts_learn_and_the_encoder_does_not(
    folders: dict[str, Path],
) -> None:
    encoder = trained(adapted(folders["wav2vec2"], "last"))
    inputs, mask = inputs_of(folders["wav2vec2"], 3_200, 4_800)
    states, _ = encoder(inputs, mask)
    states.square().mean().backward()
    assert encoder.gate is not None
    assert float(encoder.gate.weight.grad.abs().max()) > 0
    for adapter in encoder.adapters.values():
        assert float(adapter.up.grad.abs().max()) > 0
    assert all(
        p.grad is None for p in encoder.hidden_states.encoder.parameters() if not p.requires_grad
    )
    names = set(encoder.state_dict())
    assert all(name.startswith(("adapters.", "gate.")) for name in names)


STAGES = """[
  {name: shared, train: [encoder, experts], route: shared, epochs: 2, learning_rate: 0.01},
  {name: experts, train: [experts], route: speaker, epochs: 2, learning_rate: 0.01},
  {name: gate, train: [gate], epochs: 2, learning_rate: 0.01}]"""


def changes(folder: Path, *more: str) -> list[str]:
    return [
        f"features={{kind: pretrained, model: {folder}, layers: mix, stack: 2}}",
        "model={encoder: {width: 32, hidden: 32, dilations: [1], bottleneck: 16},"
        " adapters: {num_experts: speakers, rank: 4}}",
        "training.augmentation={}",
        f"training.stages={STAGES}",
        "training.timing=null",
        *more,
    ]


@pytest.mark.slow
def test_the_stages_of_1989_train_adapters(
    tones: PreparedCorpus, folders: dict[str, Path], tmp_path: Path
) -> None:
    recipe = tiny.RECIPES / "tiny_sparse.yaml"
    result = train(recipe, tmp_path / "run", changes=changes(folders["whisper"]), device="cpu")
    run = result.run
    assert run.recognizer.expert_names == tones.speakers
    assert run.recognizer.adapted is not None
    up = run.recognizer.adapted.adapters["0_fc1"].up
    assert not torch.equal(up[0], up[1])  # by speaker, after one for all
    weights = result.routing.report.weights
    np.testing.assert_allclose(np.asarray(weights).sum(axis=1), 1, atol=1e-5)
    again = load(tmp_path / "run")
    sound = noise(16_000)
    one, other = (r.transcribe(sound, sample_rate=16_000) for r in (run, again))
    assert one.to_dict()["segments"] == other.to_dict()["segments"]
    assert dict(model_card(again).lines())["adapters"] == (
        f"{len(tones.speakers)} experts, each a set of adapters of rank 4 in all layers of the "
        "encoder, weighted by a gate once per utterance"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.adapters.num_experts=2", "route: speaker needs model.adapters.num_experts"),
        ("features={sample_rate: 16000}", "inside a pretrained encoder"),
        ("model.encoder.sparse={every: 1, num_experts: 4, hidden: 8}", "encoder without sparse"),
        ("model.adapters.rank=0", "rank"),
        ("model.adapters.layers=99", r"model\.adapters\.layers: found 99, but .* has \d+ layers"),
        ("training.stages.gate.objective=speaker", "only cross_entropy and crf"),
    ],
    ids=["speakers", "log_mel", "sparse", "rank", "layers", "objective"],
)
def test_adapters_that_do_not_fit_are_refused(
    folders: dict[str, Path], change: str, message: str
) -> None:
    recipe = tiny.RECIPES / "tiny_sparse.yaml"
    with pytest.raises(InputError, match=message):
        pin_encoders(load_recipe(recipe, changes(folders["whisper"], change)))
