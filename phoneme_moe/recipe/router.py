"""What a recipe may say of the router of a sparse layer, and of what keeps its experts busy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.section import Amount, Count, Section


class Router(Section):
    """The router of a sparse layer (``mixture.sparse``: routers, selection, soft).

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
    """What keeps the experts equally busy (``mixture.sparse.balance``).

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
