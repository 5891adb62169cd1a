"""Mixtures of experts for any features: experts, gates, sparse layers, trees.

Requires torch only and contains nothing specific to speech (docs/mixtures.md)::

    from phoneme_moe.mixture import Experts, FeedForward, Gate, MixtureOfExperts
"""

from phoneme_moe.mixture.combination import combine
from phoneme_moe.mixture.experts import Experts
from phoneme_moe.mixture.gate import Gate
from phoneme_moe.mixture.mixture import MixtureOfExperts, MixtureOutput, mix
from phoneme_moe.mixture.networks.feed_forward import FeedForward
from phoneme_moe.mixture.networks.functions import FunctionNetwork
from phoneme_moe.mixture.networks.tdnn import StackTDNN
from phoneme_moe.mixture.objectives import blend_error, competitive_error
from phoneme_moe.mixture.override import RoutingOverride
from phoneme_moe.mixture.routing import Routing, dense_routing, fixed_routing
from phoneme_moe.mixture.sparse.balance import (
    SelectionBias,
    importance_loss,
    switch_loss,
    z_loss,
)
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.layer import BalanceWeights, SparseFeedForward
from phoneme_moe.mixture.sparse.layer_routing import LayerRouting, RouterContext
from phoneme_moe.mixture.sparse.routers import ExpertChoice, TokenChoice
from phoneme_moe.mixture.sparse.scores import HashScores, LinearScores
from phoneme_moe.mixture.sparse.soft import SoftFeedForward
from phoneme_moe.mixture.sparse.tree_choice import TreeChoice
from phoneme_moe.mixture.trees.em import em_step
from phoneme_moe.mixture.trees.hierarchy import HierarchicalMixture, balanced_tree

__all__ = [
    "BalanceWeights",
    "ExpertChoice",
    "ExpertFeedForward",
    "Experts",
    "FeedForward",
    "FunctionNetwork",
    "Gate",
    "HashScores",
    "HierarchicalMixture",
    "LayerRouting",
    "LinearScores",
    "MixtureOfExperts",
    "MixtureOutput",
    "RouterContext",
    "Routing",
    "RoutingOverride",
    "SelectionBias",
    "SoftFeedForward",
    "SparseFeedForward",
    "StackTDNN",
    "TokenChoice",
    "TreeChoice",
    "balanced_tree",
    "blend_error",
    "combine",
    "competitive_error",
    "dense_routing",
    "em_step",
    "fixed_routing",
    "importance_loss",
    "mix",
    "switch_loss",
    "z_loss",
]
