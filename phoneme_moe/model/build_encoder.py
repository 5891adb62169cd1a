"""An encoder from a recipe's section."""

from __future__ import annotations

from phoneme_moe.mixture.networks.functions import FunctionNetwork, registered
from phoneme_moe.mixture.sparse.balance import SelectionBias
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.routers import (
    ContextWindow,
    ExpertChoice,
    GivenScores,
    HashScores,
    LinearScores,
    Router,
    Scores,
    TokenChoice,
    TreeChoice,
)
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.model.encoder import DenseFeedForward, Encoder, FeedForwardPart
from phoneme_moe.recipe.encoder import EncoderSection, Sparse

JITTER = 0.01
"""Width of jitter unless the recipe gives one (Switch: Fedus et al. 2021)."""


def build_encoder(section: EncoderSection, num_features: int, num_outputs: int) -> Encoder:
    """The encoder with initial weights.

    Args:
        section: Of the recipe.
        num_features: Features of a frame.
        num_outputs: Outputs of a frame.

    Raises:
        InputError: A rule is not registered.
    """
    parts: list[FeedForwardPart] = []
    for block in range(len(section.dilations)):
        if section.sparse is None or not section.is_sparse(block):
            parts.append(DenseFeedForward(section.width, section.hidden))
        else:
            name = f"block_{block + 1}"
            parts.append(_sparse_part(section.sparse, name, block, section.width))
    return Encoder(
        num_features,
        num_outputs,
        width=section.width,
        bottleneck=section.bottleneck,
        kernel=section.kernel,
        dilations=section.dilations,
        feed_forwards=parts,
        dropout=section.dropout,
    )


def _sparse_part(
    sparse: Sparse, name: str, seed: int, width: int
) -> SparseFeedForward | SoftFeedForward:
    experts = ExpertFeedForward(
        sparse.num_routed, width, sparse.expert_hidden, dropout=sparse.dropout
    )
    shared = None
    if sparse.shared:
        shared = DenseFeedForward(width, sparse.shared * sparse.expert_hidden)
    router = sparse.router
    if router.kind == "soft":
        return SoftFeedForward(experts, router.slots, router.window, shared=shared, name=name)
    beside: ContextWindow | FunctionNetwork | None = None
    num_features = width
    if router.sees == "context":
        beside = ContextWindow(width, router.context_width, router.context_frames)
        num_features = router.context_width
    elif router.sees == "embedding":
        assert router.embedding_size is not None
        num_features = router.embedding_size
    elif router.kind == "rule":
        assert router.function is not None
        key = "model.encoder.sparse.router.function"
        function = registered("gate", router.function, key)
        beside = FunctionNetwork(function, sparse.num_routed, name=router.function)
    balance = sparse.balancing
    return SparseFeedForward(
        experts,
        _build_router(sparse, num_features, seed),
        sees="rule" if router.kind == "rule" else router.sees,
        beside=beside,
        balance=BalanceWeights(balance.switch, balance.importance, balance.load, balance.z),
        capacity=sparse.capacity,
        shared=shared,
        name=name,
    )


def _build_router(sparse: Sparse, num_features: int, seed: int) -> Router:
    router = sparse.router
    if router.levels is not None:
        return TreeChoice(num_features, router.levels, sparse.routed_top_k, router.weigh)
    scores: Scores = GivenScores(sparse.num_routed)
    if router.kind == "linear":
        scores = LinearScores(num_features, sparse.num_routed)
    elif router.kind == "hash":
        scores = HashScores(num_features, sparse.num_routed, seed)
    balance = sparse.balancing
    bias = None
    if balance.bias_rate:
        bias = SelectionBias(sparse.num_routed, balance.bias_rate, balance.bias_steps)
    if router.selection == "expert_choice":
        per_frame = float(sparse.routed_top_k)
        return ExpertChoice(
            scores, per_frame, score=router.score, weighting=router.weigh, bias=bias
        )
    return TokenChoice(
        scores,
        sparse.routed_top_k,
        score=router.score,
        weighting=router.weigh,
        noise=router.noise,
        noise_scale=router.noise_scale or (JITTER if router.noise == "jitter" else 1.0),
        straight_through=router.straight_through,
        selection="balanced" if router.selection == "balanced" else "top_k",
        bias=bias,
    )
