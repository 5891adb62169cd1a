"""Section ``model.encoder`` of a recipe: blocks and sparse layers."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from phoneme_moe.recipe.router import NO_BALANCE, Balance, Router
from phoneme_moe.recipe.router_kinds import ROUTERS
from phoneme_moe.recipe.section import MAX_LAYERS, Count, Frames, Section


class Sparse(Section):
    """Sparse layers (mixtures of experts) in place of feed-forward layers of the encoder.

    Attributes:
        every: Every n-th block has a sparse layer; 1 for all blocks.
        num_experts: Number of experts of each layer, before segmentation.
        hidden: Hidden units of an expert, before segmentation.
        segments: Number of smaller experts into which each expert is split; ``segments`` times as
            many are selected, for finer granularity at the same cost (DeepSeekMoE, Dai et al.
            2024).
        shared: Number of the selected experts, after segmentation, that are shared by all frames
            and always active.
        capacity: Capacity factor in training: maximum load of an expert, relative to an equal share
            of the batch; further frames only pass through the residual connection. No limit by
            default.
        dropout: Dropout rate of an expert's hidden units.
        router: The router.
        balance: Load balancing. By default ``switch: 0.01, z: 0.001`` for learned routers (without
            z for a tree), and none for other routers.
    """

    every: Count = 2
    num_experts: Count
    hidden: Count
    segments: Count = 1
    shared: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    capacity: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    router: Router = Router()
    balance: Balance | None = None

    @property
    def num_routed(self) -> int:
        """Number of routed experts, after segmentation."""
        return self.num_experts * self.segments

    @property
    def routed_top_k(self) -> int:
        """Number of routed experts selected for a frame."""
        return self.router.top_k * self.segments - self.shared

    @property
    def expert_hidden(self) -> int:
        """Hidden units of an expert, after segmentation."""
        return self.hidden // self.segments

    @property
    def balancing(self) -> Balance:
        """Load balancing in effect."""
        if self.balance is not None:
            return self.balance
        if not self.router.learns or self.router.selection != "top_k":
            return NO_BALANCE
        return Balance() if self.router.levels is not None else Balance(z=0.001)

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
                    "router selects nothing"
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
                f"router.weigh: found after, but one expert is selected (top_k: {router.top_k}, "
                f"segments: {self.segments}, shared: {self.shared}) and would always have "
                "weight 1, so that the router does not learn; expected weigh: before"
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
            raise ValueError("balance.load: all experts are selected; there is no load to balance")
        if router.levels is not None and (balance.z or balance.importance):
            raise ValueError(
                f"balance.z and balance.importance: found {balance.z:g} and "
                f"{balance.importance:g}, but a tree is balanced by switch; expected 0"
            )
        kinds = sorted(name for name, kind in ROUTERS.items() if "bias_rate" in kind.settings)
        if balance.bias_rate and (router.kind not in kinds or router.selection != "top_k"):
            raise ValueError(
                f"balance.bias_rate needs a router of kind: {' or '.join(kinds)} with selection: "
                "top_k"
            )
        return self


class EncoderSection(Section):
    """Blocks of a time-delay layer and a feed-forward layer (``model.encoder``).

    Attributes:
        width: Channels.
        hidden: Hidden units of a dense feed-forward layer.
        dilations: Step between the input frames of each block's time-delay layer.
        kernel: Input frames of a time-delay layer; odd.
        bottleneck: Channels of the bottleneck of a time-delay layer.
        dropout: Dropout rate of channels, in each layer of a block.
        sparse: Sparse layers in some of the blocks; by default all layers are dense.
    """

    width: Count = 256
    hidden: Count = 512
    dilations: Annotated[tuple[Frames, ...], Field(max_length=MAX_LAYERS)] = (1, 1, 2, 2, 4, 4)
    kernel: Frames = 3
    bottleneck: Count = 96
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    sparse: Sparse | None = None

    def is_sparse(self, block: int) -> bool:
        """Whether the feed-forward layer of a block is sparse."""
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
