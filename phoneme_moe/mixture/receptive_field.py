"""How far a part of a model looks."""

from __future__ import annotations

from torch import nn

from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.sparse.layer import SparseFeedForward
from phoneme_moe.mixture.sparse.routers import ContextWindow
from phoneme_moe.mixture.sparse.soft import SoftFeedForward


def receptive_field(part: nn.Module) -> int | None:
    """Frames that an answer of a part depends on to either side; None if on the whole utterance.

    What a registered function looks at is not known: None.
    """
    if isinstance(part, StackTDNN):
        return part.kernel // 2 * (1 + sum(part.dilations))
    if isinstance(part, FeedForward):
        return None if part.token_frames is not None else part.kernel // 2
    if isinstance(part, Experts):
        reaches = [receptive_field(own) for own in (part.network, *part.functions)]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None
    if isinstance(part, Gate):
        return receptive_field(part.network)
    if isinstance(part, ContextWindow):
        return 2 * (part.kernel // 2)
    if isinstance(part, SparseFeedForward):
        # An embedding from outside is the same wherever one looks.
        if part.sees == "utterance" or part.frames_choose is not None:
            return None
        return 0 if part.beside is None else receptive_field(part.beside)
    if isinstance(part, SoftFeedForward | FunctionNetwork):
        return None
    return 0 if not _looks_around(part) else None


def _looks_around(part: nn.Module) -> bool:
    """Whether there is anything but linear maps of single frames in a part."""
    return not all(isinstance(own, nn.Linear) for own in part.modules() if own is not part)
