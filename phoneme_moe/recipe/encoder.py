"""What a recipe may say of an encoder: its blocks, and the sparse experts within them."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.strict import Section

Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]


class Router(Section):
    """Who chooses the experts of a sparse layer (``mixture.routers``, ``selection``, ``soft``).

    Attributes:
        kind: What gives the scores. ``linear``: a learned map; ``tree``: first a group, then an
            expert within it; ``hash``: fixed random directions; ``rule``: a registered function of
            the model's input; ``soft``: nobody chooses, slots mix the frames of a window.
        sees: What is decided on: each ``frame``; a frame in its ``context``; the ``utterance``, all
            of whose frames go the same way; or an ``embedding`` of it from outside.
        context_frames: Frames of the context, 5, 9, 13, ...
        context_width: Channels of the small TDNN that sees it.
        embedding_size: Numbers of an embedding from outside.
        top_k: Experts that are chosen; of a layer in ``segments``, before it is cut.
        score: ``softmax`` over all experts, or each one's own ``sigmoid``.
        weigh: Whether weights are taken ``before`` selection, as probabilities among all experts,
            or ``after`` it, as shares among the chosen.
        selection: ``top_k``; ``balanced``: in training every expert is chosen equally often
            (Sinkhorn); ``expert_choice``: experts choose frames, ``top_k`` for each on average,
            weighed by their probabilities whatever ``weigh`` says.
        noise: ``gaussian`` (learned spread), ``jitter`` or ``gumbel``; in training only.
        noise_scale: Width of jitter (0.01 if left out) or scale of Gumbel noise (1).
        straight_through: Chosen experts count alike; the router learns by the straight-through
            estimator.
        levels: Branches of a ``tree`` at each level; their product is the number of experts.
        function: Name of a ``rule`` (``phoneme_moe.register_gate``).
        slots: Of each expert in a window, where the router is ``soft``.
        window: Frames whose mixtures they are.
    """

    kind: Literal["linear", "tree", "hash", "rule", "soft"] = "linear"
    sees: Literal["frame", "context", "utterance", "embedding"] = "frame"
    context_frames: Count = 9
    context_width: Count = 64
    embedding_size: Count | None = None
    top_k: Count = 2
    score: Literal["softmax", "sigmoid"] = "softmax"
    weigh: Literal["before", "after"] = "after"
    selection: Literal["top_k", "balanced", "expert_choice"] = "top_k"
    noise: Literal["none", "gaussian", "jitter", "gumbel"] = "none"
    noise_scale: Annotated[float, Field(gt=0)] | None = None
    straight_through: bool = False
    levels: tuple[Annotated[int, Field(ge=2)], ...] | None = None
    function: str | None = None
    slots: Count = 1
    window: Count = 16

    @property
    def learns(self) -> bool:
        """Whether a gradient could move the choice."""
        return self.kind in {"linear", "tree"}

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> Router:
        if (self.levels is not None) != (self.kind == "tree"):
            raise ValueError(f"levels are for kind: tree, and it needs them; found {self.kind}")
        if (self.function is not None) != (self.kind == "rule"):
            raise ValueError(f"function is for kind: rule, and it needs one; found {self.kind}")
        if (self.embedding_size is not None) != (self.sees == "embedding"):
            raise ValueError(
                f"embedding_size is for sees: embedding, and it needs it; found {self.sees}"
            )
        if self.sees == "context" and self.context_frames % 4 != 1:
            raise ValueError(
                f"context_frames: found {self.context_frames}, expected 5, 9, 13 or another 4 n + 1"
            )
        return self

    @model_validator(mode="after")
    def _settings_go_together(self) -> Router:
        for key, alone, kinds in (
            ("score", "softmax", {"linear", "rule"}),
            ("selection", "top_k", {"linear"}),
            ("noise", "none", {"linear"}),
            ("straight_through", False, {"linear"}),
            ("sees", "frame", {"linear", "tree", "hash"}),
        ):
            found = getattr(self, key)
            if found != alone and self.kind not in kinds:
                raise ValueError(
                    f"{key}: found {found}, which is for kind: {' or '.join(sorted(kinds))}; "
                    f"found kind: {self.kind}"
                )
        if self.kind == "soft" and (self.top_k, self.weigh) != (2, "after"):
            raise ValueError(
                f"top_k and weigh: found {self.top_k} and {self.weigh}, but a soft router chooses "
                "nothing; expected slots and window"
            )
        if self.selection == "expert_choice":
            if self.sees not in {"frame", "context"}:
                raise ValueError(
                    f"selection: expert_choice chooses frames, found sees: {self.sees}"
                )
            if self.noise != "none" or self.straight_through:
                raise ValueError("selection: expert_choice has no noise and no straight_through")
        if self.noise_scale is not None and self.noise not in {"jitter", "gumbel"}:
            raise ValueError(
                f"noise_scale: found {self.noise_scale:g}, which is for noise: jitter or gumbel; "
                f"found noise: {self.noise}"
            )
        return self


class Balance(Section):
    """What keeps the experts equally busy (``mixture.balance``).

    Attributes:
        switch: Weight of the loss of Switch and GShard; at every level of a tree.
        importance: Weight of Shazeer's importance loss.
        load: Weight of Shazeer's load loss, for ``noise: gaussian``.
        z: Weight of the loss that keeps scores small.
        bias_rate: Step of the biases that balance without a loss (DeepSeek-V3); 0 for none.
        bias_steps: Steps whose choices are counted before a bias changes.
    """

    switch: Amount = 0.01
    importance: Amount = 0.0
    load: Amount = 0.0
    z: Amount = 0.0
    bias_rate: Amount = 0.0
    bias_steps: Count = 8


NO_BALANCE = Balance(switch=0.0)


class Sparse(Section):
    """Sparse layers instead of some of the encoder's feed-forward parts.

    Attributes:
        every: Every n-th block has one, counted from the first; 1 for all.
        num_experts: Of each layer, before they are cut into segments.
        hidden: Units of an expert, before it is cut.
        segments: Each expert is cut into this many, of which as many times more are chosen: the
            same cost in finer grains (DeepSeekMoE 2024).
        shared: Of the chosen, after cutting, so many are the same for all frames and always on.
        capacity: In training an expert takes at most this times its equal share of a batch; what
            comes too late is passed on by the residual. Left out, nothing is dropped.
        router: Who chooses.
        balance: Left out: ``switch: 0.01, z: 0.001`` for routers that learn to choose (a tree: no
            z), nothing for the others.
    """

    every: Count = 2
    num_experts: Count
    hidden: Count
    segments: Count = 1
    shared: Annotated[int, Field(ge=0)] = 0
    capacity: Annotated[float, Field(gt=0)] | None = None
    router: Router = Router()
    balance: Balance | None = None

    @property
    def num_routed(self) -> int:
        """Experts to choose from."""
        return self.num_experts * self.segments

    @property
    def routed_top_k(self) -> int:
        """Experts that are chosen for a frame, without the shared ones."""
        return self.router.top_k * self.segments - self.shared

    @property
    def expert_hidden(self) -> int:
        """Units of an expert as it is."""
        return self.hidden // self.segments

    @property
    def balancing(self) -> Balance:
        """What is in force."""
        if self.balance is not None:
            return self.balance
        if not self.router.learns or self.router.selection != "top_k":
            return NO_BALANCE
        return Balance() if self.router.kind == "tree" else Balance(z=0.001)

    @model_validator(mode="after")
    def _numbers_fit(self) -> Sparse:
        router = self.router
        if self.hidden % self.segments:
            raise ValueError(
                f"segments: found {self.segments}, which does not divide hidden: {self.hidden}"
            )
        if router.kind == "soft":
            if self.segments != 1 or self.capacity is not None:
                raise ValueError(
                    f"segments and capacity: found {self.segments} and {self.capacity}, but a soft "
                    "router chooses nothing"
                )
            return self
        if self.routed_top_k < 1:
            raise ValueError(
                f"shared: found {self.shared}, expected fewer than the "
                f"{router.top_k * self.segments} experts of a frame"
            )
        if (
            router.learns
            and router.selection != "expert_choice"
            and self.routed_top_k == 1
            and router.weigh == "after"
        ):
            raise ValueError(
                f"router.weigh: found after, but one expert is chosen (top_k: {router.top_k}, "
                f"segments: {self.segments}, shared: {self.shared}) and would always weigh 1, so "
                "that the router never learns; expected weigh: before"
            )
        if self.routed_top_k > self.num_routed:
            raise ValueError(
                f"router.top_k: found {router.top_k}, expected at most num_experts: "
                f"{self.num_experts}"
            )
        if router.levels is not None:
            product = math.prod(router.levels)
            if product != self.num_routed:
                raise ValueError(
                    f"router.levels: found {list(router.levels)}, groups for {product} experts, "
                    f"expected a product of {self.num_routed} (num_experts times segments)"
                )
            if self.routed_top_k > router.levels[0]:
                raise ValueError(
                    f"router.levels: found {router.levels[0]} groups at the first level, expected "
                    f"at least the {self.routed_top_k} experts of a frame (top_k)"
                )
        if router.selection == "expert_choice" and self.capacity is not None:
            raise ValueError(
                "capacity: with router.selection: expert_choice no expert can be too full"
            )
        return self

    @model_validator(mode="after")
    def _balance_fits_the_router(self) -> Sparse:
        router, balance = self.router, self.balance
        if balance is None:
            return self
        losses = {key: getattr(balance, key) for key in ("switch", "importance", "load", "z")}
        wanted = [key for key, weight in losses.items() if weight]
        if wanted and (not router.learns or router.selection == "expert_choice"):
            who = router.selection if router.learns else f"kind: {router.kind}"
            raise ValueError(
                f"balance.{wanted[0]}: found {losses[wanted[0]]}, but there is nothing to balance "
                f"for a router of {who}; expected 0"
            )
        if balance.load and router.noise != "gaussian":
            raise ValueError(
                f"balance.load needs router.noise: gaussian, found {router.noise}: without noise "
                "the load has no gradient"
            )
        if balance.load and self.routed_top_k == self.num_routed:
            raise ValueError("balance.load: all experts are chosen; there is no load to balance")
        if router.kind == "tree" and (balance.z or balance.importance):
            raise ValueError(
                f"balance.z and balance.importance: found {balance.z:g} and "
                f"{balance.importance:g}, but a tree is balanced by switch; expected 0"
            )
        if balance.bias_rate and (router.kind != "linear" or router.selection != "top_k"):
            raise ValueError(
                "balance.bias_rate needs a router of kind: linear with selection: top_k"
            )
        return self


class EncoderSection(Section):
    """Blocks of a time-delay part and a feed-forward part (``encoder.encoder``).

    Attributes:
        width: Channels.
        hidden: Units of a dense feed-forward part.
        dilations: One block for each; the step between the frames it joins.
        kernel: Frames that are joined; odd.
        bottleneck: Channels through which a block sees neighbours.
        dropout: Share of an utterance's channels silenced in training, in each part of a block.
        sparse: Experts in some of the blocks; all are dense when left out.
    """

    width: Count = 256
    hidden: Count = 512
    dilations: tuple[Count, ...] = (1, 1, 2, 2, 4, 4)
    kernel: Count = 3
    bottleneck: Count = 96
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    sparse: Sparse | None = None

    def is_sparse(self, block: int) -> bool:
        """Whether a block's feed-forward part is sparse."""
        return self.sparse is not None and (block + 1) % self.sparse.every == 0

    @model_validator(mode="after")
    def _blocks_fit(self) -> EncoderSection:
        if not self.dilations:
            raise ValueError("dilations: found none, expected one for each block")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, found {self.kernel}")
        if self.sparse is not None and self.sparse.every > len(self.dilations):
            raise ValueError(
                f"sparse.every: found {self.sparse.every}, but there are only "
                f"{len(self.dilations)} blocks (dilations)"
            )
        return self
