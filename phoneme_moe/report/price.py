"""What a model costs: weights, weights in use, multiply-adds of a frame, memory."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from phoneme_moe.model.cost import cost_of
from phoneme_moe.model.recognizer import Recognizer


def price_of(recognizer: Recognizer) -> dict[str, Any]:
    """Counts, as in docs/schemas/routing.schema.json; the timing net is not part of it.

    Multiply-adds are those of linear maps and convolutions for one frame of posteriors, or one
    token. An encoder's are counted by ``model.cost``, which knows who is left out; experts behind
    a gate all answer every frame, and theirs are counted while they do.

    Args:
        recognizer: The model.
    """
    weights = [
        weight for name, weight in recognizer.named_parameters() if not name.startswith("timing.")
    ]
    total = sum(weight.numel() for weight in weights)
    encoder = recognizer.encoder
    cost = None if encoder is None else cost_of(encoder)
    return {
        "parameters": total,
        "active_parameters": total if cost is None else cost.active,
        "multiply_adds_per_frame": _counted(recognizer) if cost is None else cost.multiply_adds,
        "frame_ms": _decision_ms(recognizer),
        "weight_bytes": sum(weight.numel() * weight.element_size() for weight in weights),
    }


def _decision_ms(recognizer: Recognizer) -> float:
    """How much sound one frame of posteriors, or one token, stands for."""
    if recognizer.task.kind == "classify":
        return float(recognizer.task.token_ms)
    return 1000 * recognizer.frame_seconds


@torch.no_grad()
def _counted(recognizer: Recognizer) -> int | None:
    """Multiply-adds of a frame through experts and gate; None where nothing is multiplied."""
    if recognizer.task.kind == "classify":
        num_frames, decisions = recognizer.log_mel.num_frames(recognizer.token_samples), 1
    else:
        num_frames, decisions = 200 * recognizer.stack, 200
    features = torch.zeros(1, num_frames, recognizer.log_mel.n_mels, device=recognizer.device)
    mask = torch.ones(1, num_frames, dtype=torch.bool, device=recognizer.device)
    expert = None
    if recognizer.gate_is_speaker:
        expert = torch.zeros(1, dtype=torch.long, device=recognizer.device)
    counter = FlopCounterMode(display=False)
    with counter:
        recognizer(features, mask, expert)
    # A multiply-add is two floating point operations.
    return round(counter.get_total_flops() / 2 / decisions) or None
