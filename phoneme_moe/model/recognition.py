"""What a recogniser computes for a batch: posteriors and routing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from phoneme_moe.mixture.routing import Routing
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting


@dataclass(frozen=True)
class Recognition:
    """Output of the model for a batch.

    Attributes:
        log_posteriors: Log posteriors of the mixture, shape (batch, frames, outputs).
        routing: Weights of the experts; its mask marks the real frames.
        expert_log_posteriors: Log posteriors of every expert, shape (batch, frames, experts,
            outputs); None where each utterance is routed to a single expert.
        layers: Routing of each sparse layer of an encoder.
        hidden: Output of the last block of an encoder, shape (batch, frames, width).
        shifted: Outputs for the input shifted by one, two, ... feature frames, if requested
            (``inference.recognize_examples``).
    """

    log_posteriors: Tensor
    routing: Routing
    expert_log_posteriors: Tensor | None = None
    layers: tuple[LayerRouting, ...] = ()
    hidden: Tensor | None = None
    shifted: tuple[Recognition, ...] = ()

    @property
    def num_frames(self) -> Tensor:
        """Real frames of each utterance, shape (batch,)."""
        return self.routing.mask.sum(dim=1)

    def routing_of(self, layer: str | None) -> Routing:
        """The routing of a sparse layer; ``routing`` for None."""
        if layer is None:
            return self.routing
        return next(routing for routing in self.layers if routing.layer == layer).routing()
