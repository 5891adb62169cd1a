from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.networks.functions import register_gate, uniform
from phoneme_moe.model.build import build_encoder
from phoneme_moe.recipe import (
    Balance,
    EncoderSection,
    Recipe,
    Router,
    Sparse,
    encoder,
    load_recipe,
    validate_recipe,
)
from phoneme_moe.recipe.router_kinds import ROUTERS as KINDS
from phoneme_moe.recipe.section import Section

RECOGNIZE = tiny.RECIPES / "tiny_recognize.yaml"
CLASSIFY = tiny.RECIPES / "tiny_classify.yaml"
STAGE = {"name": "joint", "train": ["encoder"], "epochs": 2, "learning_rate": 0.01}
BLOCKS = {"width": 16, "hidden": 24, "dilations": [1, 2], "bottleneck": 8}

Settings = dict[str, Any]


def data_of(
    sparse: Settings | None = None,
    model: Settings | None = None,
    stage: Settings | None = None,
    blocks: Settings | None = None,
) -> Settings:
    """A recipe with an encoder as plain data."""
    data = copy.deepcopy(yaml.safe_load(RECOGNIZE.read_text()))
    encoder: Settings = BLOCKS | (blocks or {})
    if sparse is not None:
        encoder["sparse"] = {"num_experts": 8, "hidden": 16} | sparse
        if sparse.get("router", {}).get("sees") == "embedding":
            data["corpus"]["embeddings"] = "voices.safetensors"
    data["model"] = {"encoder": encoder} | (model or {})
    data["training"]["stages"] = [STAGE | (stage or {})]
    return data


def kinds(setting: str) -> str:
    return " or ".join(sorted(name for name, kind in KINDS.items() if setting in kind.settings))


def complaint(data: Settings) -> str:
    with pytest.raises(InputError) as caught:
        validate_recipe(data, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix("my.yaml: ")


def router(**settings: Any) -> Settings:
    return {"router": settings}


def balance(**settings: Any) -> Settings:
    return {"balance": settings}


VALID: list[Settings] = [
    {},
    {"every": 1, "capacity": 1.25, **router(top_k=1, weigh="before", noise="jitter")},
    router(noise="jitter", noise_scale=0.1),
    router(noise="gaussian") | balance(switch=0, importance=0.1, load=0.1, z=0),
    router(noise="gumbel", noise_scale=0.5),
    router(top_k=1, weigh="before", straight_through=True),
    router(straight_through=True),
    router(score="sigmoid") | balance(switch=0.0001, bias_rate=0.001, bias_steps=4),
    {"segments": 2, "shared": 1},
    {"segments": 4, "shared": 3, **router(top_k=1, weigh="before")},
    router(selection="expert_choice"),
    router(selection="expert_choice", sees="context", top_k=1, weigh="before"),
    router(selection="balanced"),
    router(selection="balanced") | balance(switch=0.01),
    router(kind="hash"),
    router(kind="hash", sees="utterance", top_k=1),
    router(kind="rule", function="uniform"),
    router(kind="rule", function="uniform", top_k=1, score="sigmoid"),
    router(kind="tree", levels=[4, 2]),
    router(kind="tree", levels=[2, 2, 2], weigh="before"),
    router(kind="tree", levels=[4, 2]) | balance(switch=0.1, z=0),
    {"segments": 2, **router(kind="tree", levels=[4, 4], sees="context")},
    router(kind="soft"),
    router(kind="soft", slots=2, window=8) | {"shared": 1},
    router(sees="context", context_frames=13, context_width=32),
    router(sees="utterance"),
    router(sees="embedding", embedding_size=32),
    {"num_experts": 1, **router(top_k=1, weigh="before")},
    router(top_k=8),
]


@pytest.mark.parametrize("sparse", VALID)
def test_a_recipe_with_sparse_layers_survives_as_plain_data(sparse: Settings) -> None:
    recipe = validate_recipe(data_of(sparse), "my.yaml")
    plain = recipe.model_dump(mode="json")
    assert Recipe.model_validate(plain) == recipe
    assert validate_recipe(yaml.safe_load(yaml.safe_dump(plain)), "again") == recipe
    # What was set is what is there.
    found = plain["model"]["encoder"]["sparse"]
    for key, value in sparse.items():
        inside = value if isinstance(value, dict) else {}
        assert {k: found[key][k] for k in inside} == inside
        assert inside or found[key] == value


def test_an_encoder_needs_no_experts_and_no_settings() -> None:
    data = data_of()
    data["model"]["encoder"] = {}
    recipe = validate_recipe(data, "my.yaml")
    assert recipe.model.encoder == EncoderSection()
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_settings_of_an_encoder_are_changed_by_their_dotted_name(tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data_of(balance(bias_rate=0.1))))
    changes = ["router.top_k=3", "balance.bias_rate=0.25", "segments=2", "num_experts=4"]
    recipe = load_recipe(path, [f"model.encoder.sparse.{change}" for change in changes])
    assert recipe.model.encoder is not None
    sparse = recipe.model.encoder.sparse
    assert sparse is not None
    assert sparse.balance == Balance(bias_rate=0.25)
    assert (sparse.routed_top_k, sparse.num_routed, sparse.expert_hidden) == (6, 8, 8)


SPARSE = "model.encoder.sparse"


@pytest.mark.parametrize(
    ("sparse", "where", "words"),
    [
        # More experts than there are.
        (
            router(top_k=9),
            SPARSE,
            "router.top_k: found 9, expected at most num_experts: 8",
        ),
        ({"num_experts": 1}, SPARSE, "router.top_k: found 2, expected at most num_experts: 1"),
        # Sizes that do not divide.
        (
            {"segments": 3},
            SPARSE,
            "segments: found 3, which does not divide hidden: 16",
        ),
        (
            {"shared": 2},
            SPARSE,
            "shared: found 2, expected fewer than the 2 experts of a frame",
        ),
        (
            {"segments": 2, "shared": 4},
            SPARSE,
            "shared: found 4, expected fewer than the 4 experts of a frame",
        ),
        # Groups of unequal size.
        (
            router(kind="tree", levels=[3, 3]),
            SPARSE,
            "router.levels: found [3, 3], groups for 9 experts, expected a product of 8",
        ),
        (
            {"segments": 2, **router(kind="tree", levels=[4, 2])},
            SPARSE,
            "router.levels: found [4, 2], groups for 8 experts, expected a product of 16",
        ),
        (
            router(kind="tree", levels=[2, 4], top_k=3),
            SPARSE,
            "router.levels: found 2 groups at the first level, expected at least the 3 experts",
        ),
        (router(kind="tree", levels=[8, 1]), f"{SPARSE}.router.levels.1", "found 1, "),
        (router(kind="tree"), f"{SPARSE}.router", "levels are for kind: tree, and it needs them"),
        (router(levels=[4, 2]), f"{SPARSE}.router", "levels are for kind: tree, and it needs them"),
        # Capacity where nobody comes too late.
        (
            {"capacity": 1.0, **router(selection="expert_choice")},
            SPARSE,
            "capacity: with router.selection: expert_choice no expert can be too full",
        ),
        ({"capacity": 0}, f"{SPARSE}.capacity", "found 0, "),
        ({"dropout": 1}, f"{SPARSE}.dropout", "found 1, "),
        ({"dropout": -0.1}, f"{SPARSE}.dropout", "found -0.1, "),
        # A router that would never learn.
        (
            router(top_k=1),
            SPARSE,
            "router.weigh: found after, but one expert is selected (top_k: 1, segments: 1, "
            "shared: 0) and would always have weight 1",
        ),
        (router(top_k=1, straight_through=True), SPARSE, "expected weigh: before"),
        (
            router(noise_scale=0.5),
            f"{SPARSE}.router",
            "noise_scale: found 0.5, which is for noise: jitter or gumbel; found noise: none",
        ),
        (
            router(noise="gaussian", noise_scale=0.5),
            f"{SPARSE}.router",
            "noise_scale: found 0.5, which is for noise: jitter or gumbel; found noise: gaussian",
        ),
        # Settings of another kind of router.
        (
            router(kind="hash", noise="jitter"),
            f"{SPARSE}.router",
            f"noise: found jitter, which is for kind: {kinds('noise')}; found kind: hash",
        ),
        (
            router(kind="tree", levels=[4, 2], noise="gumbel"),
            f"{SPARSE}.router",
            f"noise: found gumbel, which is for kind: {kinds('noise')}; found kind: tree",
        ),
        (
            router(kind="hash", score="sigmoid"),
            f"{SPARSE}.router",
            f"score: found sigmoid, which is for kind: {kinds('score')}; found kind: hash",
        ),
        (
            router(kind="rule", function="uniform", straight_through=True),
            f"{SPARSE}.router",
            f"straight_through: found True, which is for kind: {kinds('straight_through')}; found "
            "kind: rule",
        ),
        (
            router(kind="rule", function="uniform", sees="context"),
            f"{SPARSE}.router",
            f"sees: found context, which is for kind: {kinds('sees')}; found kind: rule",
        ),
        (
            router(kind="hash", selection="balanced"),
            f"{SPARSE}.router",
            f"selection: found balanced, which is for kind: {kinds('selection')}; found kind: hash",
        ),
        (
            router(selection="expert_choice", sees="utterance"),
            f"{SPARSE}.router",
            "selection: expert_choice selects frames, found sees: utterance",
        ),
        (
            router(selection="expert_choice", noise="gaussian"),
            f"{SPARSE}.router",
            "selection: expert_choice has no noise",
        ),
        (
            router(selection="expert_choice", straight_through=True),
            f"{SPARSE}.router",
            "selection: expert_choice has no noise and no straight_through",
        ),
        (router(kind="rule"), f"{SPARSE}.router", "function is for kind: rule, and it needs one"),
        (router(function="f"), f"{SPARSE}.router", "function is for kind: rule, and it needs one"),
        (
            router(sees="embedding"),
            f"{SPARSE}.router",
            "embedding_size is for sees: embedding, and it needs it",
        ),
        (
            router(embedding_size=3),
            f"{SPARSE}.router",
            "embedding_size is for sees: embedding, and it needs it; found frame",
        ),
        (
            router(sees="context", context_frames=7),
            f"{SPARSE}.router",
            "context_frames: found 7, expected 5, 9, 13",
        ),
        (
            router(kind="soft", top_k=3),
            f"{SPARSE}.router",
            "top_k and weigh: found 3 and after, but a soft",
        ),
        (
            router(kind="soft", weigh="before"),
            f"{SPARSE}.router",
            "but a soft router selects nothing; expected slots and window",
        ),
        (
            {"segments": 2, **router(kind="soft")},
            SPARSE,
            "but a soft router selects nothing",
        ),
        (
            {"capacity": 1.0, **router(kind="soft")},
            SPARSE,
            "but a soft router selects nothing",
        ),
        (router(kind="random"), f"{SPARSE}.router.kind", "found 'random', "),
        # Balance of what does not need it, or has no gradient.
        (
            balance(load=0.1),
            SPARSE,
            "balance.load needs router.noise: gaussian, found none: without noise the load has no",
        ),
        (
            router(noise="gaussian", top_k=8) | balance(load=0.1),
            SPARSE,
            "balance.load: all experts are selected",
        ),
        (
            router(kind="hash") | balance(switch=0.2, z=0),
            SPARSE,
            "balance.switch: found 0.2, but there is nothing to balance for a router of kind: hash",
        ),
        (
            router(selection="expert_choice") | balance(switch=0, z=0.5),
            SPARSE,
            "balance.z: found 0.5, but there is nothing to balance for a router of expert_choice",
        ),
        (
            router(kind="soft") | balance(switch=0, z=0, importance=0.1),
            SPARSE,
            "balance.importance: found 0.1, but there is nothing to balance",
        ),
        (
            router(kind="tree", levels=[4, 2]) | balance(importance=0.1),
            SPARSE,
            "balance.z and balance.importance: found 0 and 0.1, but a tree is balanced by switch",
        ),
        (
            router(kind="tree", levels=[4, 2]) | balance(z=0.1),
            SPARSE,
            "but a tree is balanced by switch; expected 0",
        ),
        (
            router(kind="tree", levels=[4, 2]) | balance(z=0, bias_rate=0.1),
            SPARSE,
            f"balance.bias_rate needs a router of kind: {kinds('bias_rate')} with selection: top",
        ),
        (
            router(selection="balanced") | balance(bias_rate=0.1),
            SPARSE,
            f"balance.bias_rate needs a router of kind: {kinds('bias_rate')} with selection: top",
        ),
        (balance(switch=-0.1), f"{SPARSE}.balance.switch", "found -0.1, "),
        ({"every": 3}, "model.encoder", "sparse.every: found 3, but there are only 2 blocks"),
        ({"num_expert": 4}, "unknown key model.encoder.sparse.num_expert", "'num_experts'"),
        (router(topk=1), "unknown key model.encoder.sparse.router.topk", "'top_k'"),
    ],
)
def test_sparse_settings_that_do_not_fit_are_refused_with_their_key(
    sparse: Settings, where: str, words: str
) -> None:
    message = complaint(data_of(sparse))
    assert message.startswith(where)
    assert words in message


@pytest.mark.parametrize(
    "sparse",
    [
        {"shared": 1},
        {"segments": 2, "shared": 3},
        {"shared": 1, **router(kind="tree", levels=[4, 2])},
        {"shared": 1, **router(score="sigmoid")},
    ],
)
def test_a_choice_of_one_expert_beside_shared_ones_is_not_weighed_after_selection(
    sparse: Settings,
) -> None:
    # Of the experts of a frame all but one are shared; that one would always count 1.
    assert "weigh: before" in complaint(data_of(sparse))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"num_experts": 3}}, "model.num_experts does not go with model.encoder"),
        ({"model": {"gate": {"kind": "tdnn"}}}, "model.gate does not go with model.encoder"),
        ({"model": {"expert": {"width": 9}}}, "model.expert does not go with model.encoder"),
        ({"model": {"functions": ["uniform"]}}, "model.functions does not go with model.encod"),
        ({"model": {"combine": "product"}}, "model.combine does not go with model.encoder"),
        ({"blocks": {"dilations": []}}, "model.encoder: dilations: found none, expected one for"),
        ({"blocks": {"kernel": 4}}, "model.encoder: kernel must be odd, found 4"),
        ({"blocks": {"dropout": 1}}, "model.encoder.dropout: found 1, "),
        ({"blocks": {"width": 0}}, "model.encoder.width: found 0, "),
        (
            {"stage": {"train": ["experts"]}},
            "training.stages.joint: train: found [experts], expected [encoder]",
        ),
        (
            {"stage": {"train": ["encoder", "gate"]}},
            "training.stages.joint: train: found [encoder, gate], expected [encoder]",
        ),
        (
            {"stage": {"route": "speaker"}},
            "training.stages.joint: route: speaker is for experts named after speakers",
        ),
        (
            {"stage": {"route": "shared"}},
            "training.stages.joint: route: shared trains one expert for all and needs a model.enc",
        ),
        (
            {"stage": {"route": "shared"}, "sparse": router(kind="soft")},
            "training.stages.joint: route: shared trains one expert for all and needs a model.enc",
        ),
        (
            {"stage": {"route": "shared"}, "sparse": {"segments": 2}},
            "route: shared makes all experts copies of one: expected model.encoder.sparse.segment",
        ),
        (
            {"stage": {"route": "shared"}, "sparse": {"segments": 2, "shared": 1}},
            "route: shared makes all experts copies of one",
        ),
        (
            {
                "stage": {"route": "shared"},
                "sparse": {"num_experts": 1, **router(top_k=1, weigh="before")},
            },
            "route: shared makes all experts copies of one",
        ),
        (
            {"stage": {"blend": "utterance"}},
            "training.stages.joint: blend: found utterance, but an encoder (model.encoder) has onl",
        ),
        (
            {"stage": {"balance": 0.1}},
            "training.stages.joint: balance: found 0.1, but an encoder (model.encoder) has only 0",
        ),
        (
            {"stage": {"objective": "mse"}},
            "training.stages.joint: objective: found mse, but an encoder (model.encoder) has only",
        ),
    ],
)
def test_what_does_not_go_with_an_encoder_is_refused(
    changes: dict[str, Settings], words: str
) -> None:
    assert words in complaint(data_of(**changes))


def test_routers_that_see_an_embedding_need_a_file_of_them() -> None:
    data = data_of(router(sees="embedding", embedding_size=32))
    del data["corpus"]["embeddings"]
    message = complaint(data)
    assert message.startswith(
        "corpus.embeddings: found none, but model.encoder.sparse.router needs"
    )


def test_an_encoder_cannot_classify_tokens() -> None:
    data = copy.deepcopy(yaml.safe_load(CLASSIFY.read_text()))
    data["model"] = {"encoder": BLOCKS}
    data["training"]["stages"] = [STAGE]
    assert complaint(data).startswith("model.encoder is for task.kind recognize")


def test_without_an_encoder_there_is_none_to_train() -> None:
    data = copy.deepcopy(yaml.safe_load(RECOGNIZE.read_text()))
    data["training"]["stages"][2]["train"] = ["encoder"]
    assert complaint(data) == "training.stages.joint: there is no model.encoder to train"


def test_experts_may_begin_as_copies_of_one() -> None:
    recipe = validate_recipe(data_of({}, stage={"route": "shared"}), "my.yaml")
    assert recipe.training.stages[0].route == "shared"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Balance(switch=0.01, z=0.001)),
        ({"noise": "gaussian"}, Balance(switch=0.01, z=0.001)),
        ({"kind": "tree", "levels": (4, 2)}, Balance(switch=0.01, z=0.0)),
        ({"kind": "hash"}, Balance(switch=0.0, z=0.0)),
        ({"kind": "rule", "function": "f"}, Balance(switch=0.0, z=0.0)),
        ({"kind": "soft"}, Balance(switch=0.0, z=0.0)),
        ({"selection": "expert_choice"}, Balance(switch=0.0, z=0.0)),
        ({"selection": "balanced"}, Balance(switch=0.0, z=0.0)),
    ],
)
def test_only_routers_that_can_collapse_are_balanced_by_default(
    settings: Settings, expected: Balance
) -> None:
    sparse = Sparse(num_experts=8, hidden=16, router=Router.model_validate(settings))
    assert sparse.balancing == expected
    # What is in force may be written out.
    written = sparse.model_dump() | {"balance": expected.model_dump()}
    assert Sparse.model_validate(written).balancing == expected


def test_fine_grained_experts_by_hand() -> None:
    # 8 experts of 16 units cut in 4: 32 of 4; of 2 * 4 = 8 a frame has, 3 are shared.
    sparse = Sparse(num_experts=8, hidden=16, segments=4, shared=3)
    assert (sparse.num_routed, sparse.expert_hidden, sparse.routed_top_k) == (32, 4, 5)


def test_sections_of_an_encoder_document_all_their_keys() -> None:
    found = {
        value
        for value in vars(encoder).values()
        if isinstance(value, type) and issubclass(value, Section) and value is not Section
    }
    assert {section.__name__ for section in found} == {
        "Router",
        "Balance",
        "Sparse",
        "EncoderSection",
    }
    for section in found:
        for key in section.model_fields:
            assert key in (section.__doc__ or "").split("Attributes:")[1], key


ROUTERS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["linear", "linear", "tree", "hash", "rule"])},
    optional={
        "top_k": st.integers(1, 3),
        "weigh": st.sampled_from(["before", "after"]),
        "score": st.just("sigmoid"),
        "selection": st.sampled_from(["balanced", "expert_choice"]),
        "noise": st.sampled_from(["gaussian", "jitter", "gumbel"]),
        "straight_through": st.just(True),
        "sees": st.sampled_from(["context", "utterance"]),
    },
)
SPARSES = st.fixed_dictionaries(
    {"num_experts": st.sampled_from([1, 2, 4]), "hidden": st.just(8), "every": st.just(1)},
    optional={
        "segments": st.integers(1, 3),
        "shared": st.integers(0, 2),
        "capacity": st.sampled_from([0.5, 1.25]),
        "dropout": st.sampled_from([0.0, 0.4]),
        "balance": st.dictionaries(
            st.sampled_from(["switch", "importance", "load", "z", "bias_rate"]),
            st.sampled_from([0.0, 0.1]),
        ),
    },
)


@pytest.mark.slow
@given(sparse=SPARSES, chooser=ROUTERS)
@settings(max_examples=200)
def test_what_a_recipe_allows_can_be_built_and_trained(sparse: Settings, chooser: Settings) -> None:
    if chooser["kind"] == "rule":
        register_gate("even", uniform)
        chooser = chooser | {"function": "even"}
    if chooser["kind"] == "tree":
        chooser = chooser | {"levels": {1: [2], 2: [2], 4: [2, 2]}[sparse["num_experts"]]}
    blocks = {"width": 8, "hidden": 8, "dilations": [1], "bottleneck": 4}
    data = blocks | {"sparse": sparse | {"router": chooser}}
    try:
        section = EncoderSection.model_validate(data)
    except ValidationError:
        return
    assert EncoderSection.model_validate(section.model_dump(mode="json")) == section
    net = build_encoder(section, 3, 5)
    mask = torch.arange(6) < torch.tensor([6, 1])[:, None]
    features = torch.randn(2, 6, 3) * mask[..., None]
    for training in (True, False):
        scores, (routing,) = net.train(training)(features, mask)
        assert scores[mask].isfinite().all()
        assert routing.load.sum() == pytest.approx(1)
        loss = scores[mask].square().mean() + routing.loss
        gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients)
