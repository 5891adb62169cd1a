"""The same on real speech: tokens cut from FSDD's digits around phoneme onsets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from phoneme_moe.reproductions.borrowed_speaker import EXPERIMENT as ANNOUNCERS
from phoneme_moe.reproductions.borrowed_speaker.drawing import draw
from phoneme_moe.reproductions.borrowed_speaker.systems import plan
from phoneme_moe.reproductions.tokens import CHOSEN_FOR_DIGITS, digits, prepare_digits

EXPERIMENT = replace(
    ANNOUNCERS,
    name="borrowed-speaker-digits",
    question="Is a real speaker recognised through other speakers' modules alone?",
    chosen=(
        *CHOSEN_FOR_DIGITS,
        "Half of the epochs named below: tokens and phonemes are more than the announcers'",
        *ANNOUNCERS.chosen,
    ),
    seeds=3,
    shortfalls=(
        "Nobody is served by others as well as by his own module: six men of different accents, "
        "each with few tokens of 19 phonemes. A blend of the others is far better than the best of "
        "them, and far from his own; and no gate gives anybody away",
    ),
    plan=lambda seeds, quick: plan(seeds, quick, digits(quick)),
    prepare=prepare_digits,
    draw=partial(draw, name="borrowed_speaker_digits"),
)
