"""Cost of a decision; forests and boosted trees of other libraries with theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

FOREST_TREES = 300
BOOSTING_ROUNDS = 200
BOOSTED_DEPTH = 4
FEW = 5
"""Trees or rounds of the quick form."""

SHRINKAGE = 0.1
"""Shrinkage of boosted trees."""

PER_NODE = 2
"""Numbers of an inner node: a threshold and the number of the feature."""


@dataclass(frozen=True)
class Cost:
    """Mean cost of one decision.

    Attributes:
        parameters: Trained numbers.
        touched: How many of them a decision reads; of a tree only the thresholds, feature numbers
            and values along its path.
        multiply_adds: Connections used by a decision; a tree's comparisons and the sums over its
            leaves are counted alike.
    """

    parameters: float
    touched: float
    multiply_adds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.touched + other.touched,
            self.multiply_adds + other.multiply_adds,
        )

    def __mul__(self, count: int) -> Cost:
        return Cost(count * self.parameters, count * self.touched, count * self.multiply_adds)

    def plain(self) -> dict[str, float]:
        """As plain types."""
        return {name: float(value) for name, value in asdict(self).items()}


def dense_cost(parameters: int, multiply_adds: int) -> Cost:
    """Of a net that every decision uses whole."""
    return Cost(parameters, parameters, multiply_adds)


def top1_cost(gate: Cost, expert: Cost, num_experts: int) -> Cost:
    """Of a gate that routes to one of ``num_experts`` experts of one size."""
    return Cost(
        gate.parameters + num_experts * expert.parameters,
        gate.touched + expert.touched,
        gate.multiply_adds + expert.multiply_adds,
    )


Fitted = tuple[np.ndarray, Cost]
"""Class probabilities of the test cases, shape (cases, classes), and the cost of a decision."""


def random_forest(
    train: np.ndarray, classes: np.ndarray, test: np.ndarray, seed: int, trees: int = FOREST_TREES
) -> Fitted:
    """A random forest (Breiman 2001; scikit-learn).

    Args:
        train: Shape (cases, features).
        classes: Of these, shape (cases,).
        test: Shape (cases, features).
        seed: Of the draw.
        trees: How many.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, random_state=seed, n_jobs=1)
    forest.fit(train, classes)
    num_classes = len(forest.classes_)
    sizes = [(tree.tree_.node_count, tree.tree_.n_leaves) for tree in forest.estimators_]
    inner = sum(nodes - leaves for nodes, leaves in sizes)
    leaves = sum(leaves for _, leaves in sizes)
    # Nodes on the paths of all trees; the last of each is a leaf.
    visited = forest.decision_path(test)[0].sum() / len(test) - trees
    return forest.predict_proba(test), Cost(
        PER_NODE * inner + num_classes * leaves,
        PER_NODE * visited + num_classes * trees,
        visited + num_classes * trees,
    )


def boosted_by_sklearn(
    train: np.ndarray,
    classes: np.ndarray,
    test: np.ndarray,
    seed: int,
    rounds: int = BOOSTING_ROUNDS,
) -> Fitted:
    """Gradient boosting on histograms (scikit-learn); its cost is an upper bound.

    Arguments as of ``random_forest``, but for the rounds: trees for each class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    boosted = HistGradientBoostingClassifier(
        learning_rate=SHRINKAGE,
        max_iter=rounds,
        max_depth=BOOSTED_DEPTH,
        max_leaf_nodes=None,
        early_stopping=False,
        random_state=seed,
    )
    boosted.fit(train, classes)
    trees = rounds * len(boosted.classes_)
    # Complete trees of that depth: those grown may be smaller.
    return boosted.predict_proba(test), Cost(
        trees * (PER_NODE * (2**BOOSTED_DEPTH - 1) + 2**BOOSTED_DEPTH),
        trees * (PER_NODE * BOOSTED_DEPTH + 1),
        trees * (BOOSTED_DEPTH + 1),
    )


def boosted_by_xgboost(
    train: np.ndarray,
    classes: np.ndarray,
    test: np.ndarray,
    seed: int,
    rounds: int = BOOSTING_ROUNDS,
) -> Fitted:
    """Gradient boosting (Chen & Guestrin 2016; XGBoost).

    Arguments as of ``boosted_by_sklearn``.
    """
    from xgboost import XGBClassifier

    boosted = XGBClassifier(
        n_estimators=rounds,
        max_depth=BOOSTED_DEPTH,
        learning_rate=SHRINKAGE,
        random_state=seed,
        n_jobs=1,
    )
    boosted.fit(train, classes)
    dumped = boosted.get_booster().get_dump(dump_format="json")
    depth = [_leaf_depths(json.loads(tree)) for tree in dumped]
    leaves = sum(map(len, depth))
    leaf_of = boosted.apply(test).reshape(len(test), -1).astype(int)  # (cases, trees)
    visited = sum(
        float(np.mean([depths[leaf] for leaf in column]))
        for depths, column in zip(depth, leaf_of.T, strict=True)
    )
    inner = leaves - len(depth)  # a binary tree has one fewer than leaves
    return boosted.predict_proba(test), Cost(
        PER_NODE * inner + leaves, PER_NODE * visited + len(depth), visited + len(depth)
    )


def _leaf_depths(node: Mapping[str, Any], depth: int = 0) -> dict[int, int]:
    """Comparisons on the way to each leaf, by its number, of a tree as XGBoost writes it."""
    if "leaf" in node:
        return {node["nodeid"]: depth}
    return {
        leaf: comparisons
        for child in node["children"]
        for leaf, comparisons in _leaf_depths(child, depth + 1).items()
    }


def tree_systems(
    quick: bool = False,
) -> Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], Fitted]]:
    """The systems of trees whose libraries are installed, by name.

    Args:
        quick: With few trees.
    """
    kinds: dict[str, Callable[..., Fitted]] = {
        "random forest": random_forest,
        "boosted trees, scikit-learn": boosted_by_sklearn,
    }
    if find_spec("xgboost") is not None:
        kinds["boosted trees, XGBoost"] = boosted_by_xgboost
    if quick:
        return {
            name: partial(fit, **{"trees" if fit is random_forest else "rounds": FEW})
            for name, fit in kinds.items()
        }
    return kinds
