"""Nowlan & Hinton (1991), Evaluation of adaptive mixtures of competing experts, Tables 2 to 4.

Ten vowels of 75 speakers: experts see formants, the gate sees what distinguishes speakers.
"""

from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.nowlan_hinton_1991 import jobs, systems, tokens
from phoneme_moe_reproductions.nowlan_hinton_1991.findings import conclude, draw

EXPERIMENT = Experiment(
    name="nowlan-hinton-1991",
    description=read_description(
        "nowlan_hinton_1991/description",
        values={
            **vars(tokens),
            **vars(systems),
            **vars(jobs),
            "sigmas": ", ".join(f"{s:g} for {100 * share:g} %" for s, share in systems.STAGES),
        },
    ),
    seeds=25,
    quick_seeds=2,
    plan=jobs.plan,
    run=jobs.run,
    conclude=conclude,
    draw=draw,
)
