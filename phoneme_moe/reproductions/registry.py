"""The experiments by name; each is imported when it is run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from phoneme_moe.errors import InputError, suggest

if TYPE_CHECKING:
    from phoneme_moe.reproductions.experiment import Experiment

EXPERIMENTS = {
    "hampshire-waibel": "Seven systems for three and six speakers, /b d g/: Meta-Pi and its rivals",
    "hampshire-waibel-digits": "The same on real speech: 19 phonemes cut from FSDD's digits",
    "borrowed-speaker": "A speaker recognised through other speakers' modules alone",
    "borrowed-speaker-digits": "The same on real speech (FSDD)",
    "novel-speaker": "A speaker nobody has heard: adapted to from 1 to 25 tokens of each phoneme",
    "novel-speaker-digits": "The same on real speech (FSDD)",
    "jacobs-1991": "Mixtures of linear experts against backpropagation nets on four real vowels",
    "nowlan-hinton-1991": "Mixtures whose gate knows the speaker against one net, on ten vowels",
    "hme-1994": "Hierarchical mixtures by EM and by gradient, grown and pruned, on ten vowels",
    "ensembles": "What a mixture is not: dense nets, averages, votes, forests, boosting; costs",
}
"""What can be reproduced, in a line each."""

_MODULES = {
    "hampshire-waibel-digits": "hampshire_waibel.digits",
    "borrowed-speaker-digits": "borrowed_speaker.digits",
    "novel-speaker-digits": "novel_speaker.digits",
}
"""Where an experiment is found, if not in the module of its own name."""


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
    place = _MODULES.get(name, name.replace("-", "_"))
    module = import_module(f"phoneme_moe.reproductions.{place}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
