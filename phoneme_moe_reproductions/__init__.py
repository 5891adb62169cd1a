"""Published experiments on mixtures of experts, repeated: the paper's figures beside ours.

A package for each paper: its Markdown file says what the paper states and what was chosen here,
``systems`` has data and training, ``findings`` tables, claims and figures. Importing this package
alone is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from phoneme_moe.errors import InputError, suggest

if TYPE_CHECKING:
    from phoneme_moe_reproductions.experiment import Experiment

__all__ = ["EXPERIMENTS", "load_experiment"]

EXPERIMENTS = {
    "hampshire-waibel": "Seven systems for three and six speakers, /b d g/: Meta-Pi and its rivals",
    "hampshire-waibel-digits": "The same on real speech: 19 phonemes cut from FSDD's digits",
    "borrowed-speaker": "A speaker recognised by other speakers' modules alone",
    "borrowed-speaker-digits": "The same on real speech (FSDD)",
    "novel-speaker": "Adaptation to an unseen speaker with 1 to 25 tokens of each phoneme",
    "novel-speaker-digits": "The same on real speech (FSDD)",
    "jacobs-1991": "Mixtures of linear experts against backpropagation nets on four real vowels",
    "nowlan-hinton-1991": "Mixtures whose gate sees the speaker against one net, on ten vowels",
    "hme-1994": "Hierarchical mixtures by EM and by gradient, grown and pruned, on ten vowels",
    "ensembles": "Mixtures against dense nets, averages, votes, forests and boosting, with costs",
}
"""What can be reproduced, in a line each."""


def load_experiment(name: str) -> Experiment:
    """An experiment by its name; its module is imported only now.

    Raises:
        InputError: There is no experiment of that name.
    """
    if name not in EXPERIMENTS:
        raise InputError(
            f"no experiment named {name!r}{suggest(name, EXPERIMENTS)}; "
            f"expected one of {', '.join(EXPERIMENTS)}, or list"
        )
    paper = name.removesuffix("-digits").replace("-", "_")
    module = import_module(f"phoneme_moe_reproductions.{paper}")
    experiment: Experiment = module.DIGITS if name.endswith("-digits") else module.EXPERIMENT
    return experiment
