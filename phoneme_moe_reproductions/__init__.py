"""Published experiments on mixtures of experts, repeated: the paper's figures beside ours.

A package for each paper: its Markdown file says what the paper states and what was chosen here,
``systems`` has data and training, ``findings`` tables, claims and figures. Importing this package
alone is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.extensions import Registry

if TYPE_CHECKING:
    from phoneme_moe_reproductions.experiment import Experiment

__all__ = ["EXPERIMENTS", "load_experiment"]


@dataclass(frozen=True)
class Reproduction:
    """An experiment that can be reproduced by its name.

    Attributes:
        description: What it compares, in a line.
        place: Where it is, as ``module:name``, an ``Experiment``; imported on demand.
    """

    description: str
    place: str


EXPERIMENTS = Registry(
    "phoneme_moe.experiments",
    Reproduction,
    {
        "hampshire-waibel": Reproduction(
            "Seven systems for three and six speakers, /b d g/: Meta-Pi and its rivals",
            "phoneme_moe_reproductions.hampshire_waibel:EXPERIMENT",
        ),
        "hampshire-waibel-digits": Reproduction(
            "The same on real speech: 19 phonemes cut from FSDD's digits",
            "phoneme_moe_reproductions.hampshire_waibel:DIGITS",
        ),
        "borrowed-speaker": Reproduction(
            "A speaker recognised by other speakers' modules alone",
            "phoneme_moe_reproductions.borrowed_speaker:EXPERIMENT",
        ),
        "borrowed-speaker-digits": Reproduction(
            "The same on real speech (FSDD)",
            "phoneme_moe_reproductions.borrowed_speaker:DIGITS",
        ),
        "novel-speaker": Reproduction(
            "Adaptation to an unseen speaker with 1 to 25 tokens of each phoneme",
            "phoneme_moe_reproductions.novel_speaker:EXPERIMENT",
        ),
        "novel-speaker-digits": Reproduction(
            "The same on real speech (FSDD)",
            "phoneme_moe_reproductions.novel_speaker:DIGITS",
        ),
        "jacobs-1991": Reproduction(
            "Mixtures of linear experts against backpropagation nets on four real vowels",
            "phoneme_moe_reproductions.jacobs_1991:EXPERIMENT",
        ),
        "nowlan-hinton-1991": Reproduction(
            "Mixtures whose gate sees the speaker against one net, on ten vowels",
            "phoneme_moe_reproductions.nowlan_hinton_1991:EXPERIMENT",
        ),
        "hme-1994": Reproduction(
            "Hierarchical mixtures by EM and by gradient, grown and pruned, on ten vowels",
            "phoneme_moe_reproductions.hme_1994:EXPERIMENT",
        ),
        "ensembles": Reproduction(
            "Mixtures against dense nets, averages, votes, forests and boosting, with costs",
            "phoneme_moe_reproductions.ensembles:EXPERIMENT",
        ),
    },
)
"""What can be reproduced; other packages add to it."""


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
    module, _, attribute = EXPERIMENTS[name].place.partition(":")
    experiment: Experiment = getattr(import_module(module), attribute)
    return experiment
