"""Receptive fields of gates, experts and layers."""

from __future__ import annotations

from torch import nn

from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import ExpertChoice
from phoneme_moe.mixture.sparse.scores import ContextWindow
from phoneme_moe.mixture.sparse.soft import SoftFeedForward


def receptive_field(part: nn.Module) -> int | None:
    """Frames to either side that an output depends on; None for the whole utterance.

    None also for registered functions, whose receptive field is unknown.
    """
    if isinstance(part, StackTDNN):
        return part.kernel // 2 * (1 + sum(part.dilations))
    if isinstance(part, FeedForward):
        return None if part.token_frames is not None else part.kernel // 2
    if isinstance(part, Experts):
        fields = [receptive_field(network) for network in (part.network, *part.functions)]
        known = [field for field in fields if field is not None]
        return max(known) if len(known) == len(fields) else None
    if isinstance(part, Gate):
        return receptive_field(part.network)
    if isinstance(part, ContextWindow):
        return 2 * (part.kernel // 2)
    if isinstance(part, SparseFeedForward):
        # An external embedding is the same in every frame.
        if part.sees == "utterance" or isinstance(part.router, ExpertChoice):
            return None
        return 0 if part.beside is None else receptive_field(part.beside)
    if isinstance(part, SoftFeedForward | FunctionNetwork):
        return None
    # The input of a linear map is a single frame.
    inner = (module for module in part.modules() if module is not part)
    return 0 if all(isinstance(module, nn.Linear) for module in inner) else None
