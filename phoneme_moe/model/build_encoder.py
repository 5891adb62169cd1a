"""An encoder from a recipe's section."""

from __future__ import annotations

from phoneme_moe.mixture.networks.functions import FunctionNetwork, registered
from phoneme_moe.mixture.sparse.balance import SelectionBias
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.routers import (
    ContextWindow,
    HashScores,
    LinearScores,
    TokenChoice,
    TreeChoice,
)
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.model.encoder import DenseFeedForward, Encoder, FeedForwardPart
from phoneme_moe.recipe.encoder import EncoderSection, Sparse

JITTER = 0.01
"""Width of jitter where a recipe does not say (Switch: Fedus et al. 2021)."""


def build_encoder(section: EncoderSection, num_features: int, num_outputs: int) -> Encoder:
    """The encoder with fresh weights.

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
        section.width,
        section.bottleneck,
        section.kernel,
        section.dilations,
        parts,
        section.dropout,
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
        return SoftFeedForward(name, experts, width, router.slots, router.window, shared)
    beside: ContextWindow | FunctionNetwork | None = None
    seen = width
    if router.sees == "context":
        beside = ContextWindow(width, router.context_width, router.context_frames)
        seen = router.context_width
    elif router.sees == "embedding":
        assert router.embedding_size is not None
        seen = router.embedding_size
    elif router.kind == "rule":
        assert router.function is not None
        key = "model.encoder.sparse.router.function"
        function = registered("gate", router.function, key)
        beside = FunctionNetwork(router.function, function, sparse.num_routed, token=False)
    by_frames = router.selection == "expert_choice"
    balance = sparse.balancing
    return SparseFeedForward(
        name,
        experts,
        _chooser(sparse, seen, seed),
        "rule" if router.kind == "rule" else router.sees,
        beside,
        BalanceWeights(balance.switch, balance.importance, balance.load, balance.z),
        sparse.capacity,
        float(sparse.routed_top_k) if by_frames else None,
        shared,
    )


def _chooser(sparse: Sparse, seen: int, seed: int) -> TokenChoice | TreeChoice:
    router = sparse.router
    if router.levels is not None:
        return TreeChoice(seen, router.levels, sparse.routed_top_k, router.weigh)
    scores: LinearScores | HashScores | None = None
    if router.kind == "linear":
        scores = LinearScores(seen, sparse.num_routed)
    elif router.kind == "hash":
        scores = HashScores(seen, sparse.num_routed, seed)
    balance = sparse.balancing
    bias = None
    if balance.bias_rate:
        bias = SelectionBias(sparse.num_routed, balance.bias_rate, balance.bias_steps)
    return TokenChoice(
        scores,
        seen,
        sparse.num_routed,
        sparse.routed_top_k,
        router.score,
        router.weigh,
        router.noise,
        router.noise_scale or (JITTER if router.noise == "jitter" else 1.0),
        router.straight_through,
        "balanced" if router.selection == "balanced" else "top_k",
        bias,
    )
