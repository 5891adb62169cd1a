"""Hampshire & Waibel (TPAMI 1992): adaptation to an unseen speaker from a few tokens."""

from dataclasses import replace
from functools import partial

from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.novel_speaker import systems
from phoneme_moe_reproductions.novel_speaker.findings import conclude, draw
from phoneme_moe_reproductions.tokens import prepare_announcers, prepare_digits

EXPERIMENT = Experiment(
    name="novel-speaker",
    description=read_description(
        "novel_speaker/description", values=vars(systems), variant="announcers"
    ),
    seeds=5,
    quick_seeds=1,
    plan=systems.plan,
    run=systems.run,
    conclude=conclude,
    draw=draw,
    prepare=prepare_announcers,
)
DIGITS = replace(
    EXPERIMENT,
    name="novel-speaker-digits",
    description=read_description(
        "digits", "novel_speaker/description", values=vars(systems), variant="digits"
    ),
    seeds=3,
    plan=partial(systems.plan, digits=True),
    draw=partial(draw, name="novel_speaker_digits"),
    prepare=prepare_digits,
)
