"""The kinds of router: each is registered once, here or by another package.

A kind is what a recipe may set and where its scores are computed. ``tree`` and ``soft`` are not a
score for each expert and have classes of their own (``mixture.sparse``).
"""

from __future__ import annotations

from dataclasses import dataclass

from phoneme_moe.extensions import Registry

SETTINGS = ("score", "selection", "noise", "straight_through", "sees", "bias_rate")
"""Settings that a kind may have, besides those of all kinds."""


@dataclass(frozen=True)
class RouterKind:
    """A kind of router.

    Attributes:
        description: What it is, in a few words.
        learns: Whether it has weights, so that there is a load to balance.
        settings: Which of ``SETTINGS`` a recipe may change.
        scores: Class that computes a score for each expert, as ``module:class``; it is called with
            the number of features, the number of experts and a seed
            (``mixture.sparse.scores.Scores``). None for kinds that the package builds otherwise.
        grows: Whether frames keep their experts when others are added (``phoneme-moe grow``).
    """

    description: str
    learns: bool
    settings: frozenset[str] = frozenset()
    scores: str | None = None
    grows: bool = False

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: There is no such setting.
        """
        unknown = self.settings - set(SETTINGS)
        if unknown:
            raise ValueError(f"settings: found {sorted(unknown)}, expected some of {SETTINGS}")


_SCORES = "phoneme_moe.mixture.sparse.scores"

ROUTERS = Registry(
    "phoneme_moe.routers",
    RouterKind,
    {
        "linear": RouterKind(
            "a learned map", True, frozenset(SETTINGS), f"{_SCORES}:LinearScores", grows=True
        ),
        "tree": RouterKind("first a group, then an expert within it", True, frozenset({"sees"})),
        "hash": RouterKind(
            "fixed random directions", False, frozenset({"sees"}), f"{_SCORES}:HashScores"
        ),
        "rule": RouterKind("a registered function of the model input", False, frozenset({"score"})),
        "soft": RouterKind(
            "no selection, slots mix the frames of a window (Soft MoE)", False, grows=True
        ),
    },
)
