"""Sections ``router`` and ``balance`` of the sparse layers of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from phoneme_moe.errors import suggest
from phoneme_moe.recipe.router_kinds import ROUTERS
from phoneme_moe.recipe.section import Amount, Count, Frames, Section


def _check_kind(kind: str) -> str:
    if kind not in ROUTERS:
        raise ValueError(f"found {kind!r}, which is no kind of router{suggest(kind, ROUTERS)}")
    return kind


Kind = Annotated[
    str,
    AfterValidator(_check_kind),
    # Installed packages may have others.
    WithJsonSchema({"type": "string", "examples": list(ROUTERS.items_here)}),
]

Branches = Annotated[int, Field(ge=2, le=1_000_000)]


class Router(Section):
    """The router of a sparse layer (``mixture.sparse``: routers, selection, soft).

    Attributes:
        kind: Source of the scores (``router_kinds``). ``linear``: a learned map; ``tree``: first a
            group, then an expert within it; ``hash``: fixed random directions; ``rule``: a
            registered function of the model input; ``soft``: no selection, slots mix the frames of
            a window (Soft MoE); or a kind of another installed package.
        sees: Input of the router: each ``frame``; a frame with its ``context``; the ``utterance``,
            for one decision about all of its frames; or an external ``embedding`` of it.
        context_frames: Length of the context in frames: 5, 9, 13, ...
        context_width: Channels of the TDNN over the context.
        embedding_size: Length of an external embedding.
        top_k: Number of selected experts, before segmentation.
        score: ``softmax`` over all experts, or an independent ``sigmoid`` for each.
        weigh: Whether weights are normalised ``before`` selection, over all experts, or ``after``
            it, over the selected ones.
        selection: ``top_k``; ``balanced``: equally many frames for every expert in training
            (Sinkhorn); ``expert_choice``: experts select frames, ``top_k`` experts for each frame
            on average, weighted by their probabilities whatever ``weigh`` is.
        noise: ``gaussian`` (learned scale), ``jitter`` or ``gumbel``; in training only.
        noise_scale: Width of the jitter (default 0.01) or scale of the Gumbel noise (default 1).
        straight_through: Whether selected experts have equal weights, with gradients by the
            straight-through estimator.
        levels: Branches of a ``tree`` at each level; their product is the number of experts.
        function: Name of the function of a ``rule`` (``phoneme_moe.register_gate``).
        slots: Slots of each expert in a window, for ``soft``.
        window: Frames of a window, for ``soft``.
    """

    kind: Kind = "linear"
    sees: Literal["frame", "context", "utterance", "embedding"] = "frame"
    context_frames: Frames = 9
    context_width: Count = 64
    embedding_size: Count | None = None
    top_k: Count = 2
    score: Literal["softmax", "sigmoid"] = "softmax"
    weigh: Literal["before", "after"] = "after"
    selection: Literal["top_k", "balanced", "expert_choice"] = "top_k"
    noise: Literal["none", "gaussian", "jitter", "gumbel"] = "none"
    noise_scale: Annotated[float, Field(gt=0)] | None = None
    straight_through: bool = False
    levels: Annotated[tuple[Branches, ...], Field(max_length=20)] | None = None
    function: str | None = None
    slots: Count = 1
    window: Frames = 16

    @property
    def learns(self) -> bool:
        """Whether the router is learned."""
        return ROUTERS[self.kind].learns

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
        for key, alone in (
            ("score", "softmax"),
            ("selection", "top_k"),
            ("noise", "none"),
            ("straight_through", False),
            ("sees", "frame"),
        ):
            value = getattr(self, key)
            if value != alone and key not in ROUTERS[self.kind].settings:
                kinds = sorted(name for name, kind in ROUTERS.items() if key in kind.settings)
                raise ValueError(
                    f"{key}: found {value}, which is for kind: {' or '.join(kinds)}; "
                    f"found kind: {self.kind}"
                )
        if self.kind == "soft" and (self.top_k, self.weigh) != (2, "after"):
            raise ValueError(
                f"top_k and weigh: found {self.top_k} and {self.weigh}, but a soft router selects "
                "nothing; expected slots and window"
            )
        if self.selection == "expert_choice":
            if self.sees not in {"frame", "context"}:
                raise ValueError(
                    f"selection: expert_choice selects frames, found sees: {self.sees}"
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
    """Load balancing (``mixture.sparse.balance``).

    Attributes:
        switch: Weight of the load-balancing loss of Switch and GShard, at every level of a tree.
        importance: Weight of the importance loss (Shazeer et al. 2017).
        load: Weight of the load loss (Shazeer et al. 2017), for ``noise: gaussian``.
        z: Weight of the router z-loss (ST-MoE, Zoph et al. 2022).
        bias_rate: Step size of the selection biases, for balancing without a loss (DeepSeek-V3); 0
            for no biases.
        bias_steps: Training steps between updates of the biases.
    """

    switch: Amount = 0.01
    importance: Amount = 0.0
    load: Amount = 0.0
    z: Amount = 0.0
    bias_rate: Amount = 0.0
    bias_steps: Count = 8


NO_BALANCE = Balance(switch=0.0)


DEAD_PART = 0.1
"""An expert is dead if its load is less than this fraction of an equal share, 1 / experts."""


def numbered_experts(num_experts: int) -> tuple[str, ...]:
    """Default names of experts: ``expert_0``, ``expert_1``, ..."""
    return tuple(f"expert_{index}" for index in range(num_experts))
