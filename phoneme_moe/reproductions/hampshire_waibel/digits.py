"""The same systems on real speech: tokens cut from FSDD's digits around phoneme onsets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from phoneme_moe.reproductions.hampshire_waibel import CHOSEN_EVERYWHERE, KNOWN
from phoneme_moe.reproductions.hampshire_waibel import EXPERIMENT as ANNOUNCERS
from phoneme_moe.reproductions.hampshire_waibel.drawing import draw
from phoneme_moe.reproductions.hampshire_waibel.findings import conclude
from phoneme_moe.reproductions.hampshire_waibel.systems import DIGIT_EPOCHS, plan
from phoneme_moe.reproductions.tokens import CHOSEN_FOR_DIGITS, digits, prepare_digits

EXPERIMENT = replace(
    ANNOUNCERS,
    name="hampshire-waibel-digits",
    question="Do the systems of 1989 stand in the same order on real speech of six speakers?",
    known=KNOWN,
    chosen=(*CHOSEN_FOR_DIGITS, f"{DIGIT_EPOCHS} epochs", *CHOSEN_EVERYWHERE),
    shortfalls=(
        "A speaker's own module is far from perfect on 19 phonemes: few tokens of each word, 8 "
        "first-layer units, 150 ms of sound, and onsets that an aligner found. It bounds what a "
        "gate over modules can gain over one net",
        "Raw sigmoids are poorer than a softmax here, perhaps because blends of 19 classes add "
        "up the small outputs of modules that should not be asked",
    ),
    seeds=3,
    quick_seeds=1,
    plan=lambda seeds, quick: plan(seeds, quick, digits(quick)),
    prepare=prepare_digits,
    conclude=partial(conclude, published=False),
    draw=partial(draw, name="hampshire_waibel_digits"),
)
