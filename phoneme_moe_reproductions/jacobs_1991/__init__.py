"""Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts, Table 1.

Mixtures of linear experts against nets with one hidden layer, on four vowels of 75 speakers: how
many epochs until they are equally good, and how many experts end up in use.
"""

from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.jacobs_1991 import systems
from phoneme_moe_reproductions.jacobs_1991.findings import conclude, draw

EXPERIMENT = Experiment(
    name="jacobs-1991",
    description=read_description(
        "jacobs_1991/description",
        values={
            **vars(systems),
            "step_sizes": ", ".join(f"{size:g}" for size in systems.STEP_SIZES),
        },
    ),
    seeds=25,
    quick_seeds=3,
    plan=systems.plan,
    run=systems.run,
    conclude=conclude,
    draw=draw,
)
