"""The same on real speech: tokens cut from FSDD's digits around phoneme onsets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from phoneme_moe.reproductions.novel_speaker import EXPERIMENT as ANNOUNCERS
from phoneme_moe.reproductions.novel_speaker.drawing import draw
from phoneme_moe.reproductions.novel_speaker.systems import plan
from phoneme_moe.reproductions.tokens import CHOSEN_FOR_DIGITS, digits, prepare_digits

EXPERIMENT = replace(
    ANNOUNCERS,
    name="novel-speaker-digits",
    question="How much of a real speaker must be heard?",
    chosen=(
        *CHOSEN_FOR_DIGITS,
        "Half of the epochs named below: tokens and phonemes are more than the announcers'",
        *ANNOUNCERS.chosen,
    ),
    seeds=3,
    plan=lambda seeds, quick: plan(seeds, quick, digits(quick)),
    prepare=prepare_digits,
    draw=partial(draw, name="novel_speaker_digits"),
)
