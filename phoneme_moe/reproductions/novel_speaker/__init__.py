"""Hampshire & Waibel (TPAMI 1992): a speaker nobody has heard, from a few of his tokens."""

from phoneme_moe.reproductions.experiment import Experiment
from phoneme_moe.reproductions.novel_speaker.drawing import draw
from phoneme_moe.reproductions.novel_speaker.findings import conclude
from phoneme_moe.reproductions.novel_speaker.systems import (
    EPOCHS,
    EXPERT_ADAPTATION,
    GATE_ADAPTATION,
    GATE_EPOCHS,
    REHEARSED,
    plan,
    run,
)
from phoneme_moe.reproductions.tokens import prepare_announcers

EXPERIMENT = Experiment(
    name="novel-speaker",
    paper="Hampshire & Waibel, The Meta-Pi network, IEEE TPAMI 14(7):751-769, 1992 (abstract)",
    question="How much of a new speaker must be heard before modules of other speakers serve him, "
    "or before a module of his own pays?",
    known=("Adaptation to a speaker not heard in training from 5 tokens of each of 3 phonemes",),
    chosen=(
        "Each speaker is left out in turn: a gate over the other modules learns from the other "
        "speakers. His tokens for adaptation are drawn from his training tokens by seed",
        f"Gate: goes on from its weights, {GATE_ADAPTATION.epochs} epochs, peak rate "
        f"{GATE_ADAPTATION.learning_rate:g}, on his tokens, repeated, and as many of the old "
        f"speakers' ({REHEARSED}, drawn anew for each lesson), lest it forget them",
        "New expert: a copy of the module that the gate asks most for his tokens, trained on on "
        f"them alone ({EXPERT_ADAPTATION.epochs} passes over as many tokens as the largest lesson "
        f"has, peak rate {EXPERT_ADAPTATION.learning_rate:g}); the gate begins with its source's "
        "scores for it and learns as above",
        f"Modules: {EPOCHS} epochs, gates: {GATE_EPOCHS}; all else as in hampshire-waibel. Rates "
        "and rehearsal were chosen on dev tokens of one seed",
        "Seeds share speakers; their intervals are about seeds and draws of tokens only",
    ),
    shortfalls=(
        "A new expert that learns from a few tokens takes some of the old speakers' too: the "
        "gate tells him from them by the same few tokens",
    ),
    seeds=5,
    quick_seeds=1,
    plan=plan,
    run=run,
    conclude=conclude,
    prepare=prepare_announcers,
    draw=draw,
)
