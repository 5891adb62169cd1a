"""Hampshire & Waibel (1989-1992), Connectionist architectures for multi-speaker recognition.

All systems of Table 1: one net for all speakers in several forms, nets of one speaker each joined,
and gates over them, trained with speaker labels (SID) or without (Meta-Pi).
"""

from dataclasses import replace
from functools import partial

from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.hampshire_waibel import systems
from phoneme_moe_reproductions.hampshire_waibel.findings import conclude, draw
from phoneme_moe_reproductions.multi_speaker import JITTER
from phoneme_moe_reproductions.tokens import prepare_announcers, prepare_digits

VALUES = {**vars(systems), "JITTER": JITTER}
EXPERIMENT = Experiment(
    name="hampshire-waibel",
    description=read_description(
        "hampshire_waibel/description", values=VALUES, variant="announcers"
    ),
    seeds=10,
    quick_seeds=1,
    plan=systems.plan,
    run=systems.run,
    conclude=conclude,
    draw=draw,
    prepare=prepare_announcers,
)
DIGITS = replace(
    EXPERIMENT,
    name="hampshire-waibel-digits",
    description=read_description(
        "digits", "hampshire_waibel/description", values=VALUES, variant="digits"
    ),
    seeds=3,
    plan=partial(systems.plan, digits=True),
    conclude=partial(conclude, published=False),
    draw=partial(draw, published=False),
    prepare=prepare_digits,
)
