"""Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, on vowels.

With what others added: growing (Fritsch, Finke & Waibel 1997, on these vowels) and pruning
(Waterhouse & Robinson 1996).
"""

from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.hme_1994 import systems
from phoneme_moe_reproductions.hme_1994.claims import WITHIN
from phoneme_moe_reproductions.hme_1994.findings import conclude, draw

EXPERIMENT = Experiment(
    name="hme-1994",
    description=read_description(
        "hme_1994/description",
        values={
            **vars(systems),
            "WITHIN": WITHIN,
            "in_use_percent": 100 * systems.IN_USE,
            "priors": ", ".join(f"{prior:g}" for prior in systems.PRIORS),
        },
    ),
    seeds=10,
    quick_seeds=2,
    plan=systems.plan,
    run=systems.run,
    conclude=conclude,
    draw=draw,
)
