"""The experiments by name; each is imported when it is run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from phoneme_moe.errors import InputError, suggest

if TYPE_CHECKING:
    from phoneme_moe.reproduce.experiment import Experiment

EXPERIMENTS = {
    "jacobs-1991": "Mixtures of linear experts against backpropagation nets on four real vowels",
    "hme-1994": "Hierarchical mixtures by EM and by gradient, grown and pruned, on ten vowels",
}
"""What can be reproduced, in a line each."""


def load_experiment(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in EXPERIMENTS:
        raise InputError(
            f"no experiment named {name!r}{suggest(name, EXPERIMENTS)}; "
            f"expected one of {', '.join(EXPERIMENTS)}, or list"
        )
    module = import_module(f"phoneme_moe.reproduce.{name.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
