"""Hampshire & Waibel (1989-1990): a speaker recognised through other speakers' modules alone."""

from phoneme_moe.reproductions.borrowed_speaker.drawing import draw
from phoneme_moe.reproductions.borrowed_speaker.findings import conclude
from phoneme_moe.reproductions.borrowed_speaker.systems import (
    EARLY_EPOCHS,
    EARLY_GATE_EPOCHS,
    EPOCHS,
    GATE_EPOCHS,
    plan,
    run,
)
from phoneme_moe.reproductions.experiment import Experiment
from phoneme_moe.reproductions.tokens import prepare_announcers

EXPERIMENT = Experiment(
    name="borrowed-speaker",
    paper="Hampshire & Waibel, NIPS 2, 1989, figure 6; The Meta-Pi network, ICASSP 1990",
    question="Can a speaker be recognised without his own module, through a blend of the others'? "
    "And when does a gate do so of itself, as it did with the speaker MHT?",
    known=(
        "With six modules, one of them MHT's own, the gate recognised MHT with modules of other "
        "men exclusively, at 99.8 %; in the Modular TDNN of three speakers his /b/ excited all "
        "three",
        "The explanation given: the gate divides by gross formant features, not by identity",
    ),
    chosen=(
        "Removed modules: for each speaker a fresh gate over the other modules is trained on all "
        "speakers' tokens, his among them, as the gate of 1989 had heard MHT",
        "Left alone: gates over all modules, softmax or raw sigmoids, at three peak learning "
        "rates. A gate's weights are the means over its three nets (one for each objective); raw "
        "sigmoids are normalised to compare them",
        f"Modules: {EPOCHS} epochs, gates: {GATE_EPOCHS}; all else as in hampshire-waibel. And "
        f"modules that are not finished: {EARLY_EPOCHS} epochs, gates over them "
        f"{EARLY_GATE_EPOCHS}",
        "Seeds share speakers and tokens; their intervals are about seeds only",
    ),
    shortfalls=(
        "Not every speaker can be replaced: one voice is so unlike the others that any module "
        "but its own is near chance on it",
        "Where a gate gave a speaker away by itself, here over modules that were not finished "
        "or with steps too small, it was not to his good, as with MHT, but for want of "
        "training: more of it gives him his own module back. That others' modules serve a "
        "speaker as well as his own was found only where his own was taken away",
    ),
    seeds=5,
    quick_seeds=1,
    plan=plan,
    run=run,
    conclude=conclude,
    prepare=prepare_announcers,
    draw=draw,
)
