"""Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm, on vowels.

With what others added: growing (Fritsch, Finke & Waibel 1997, on these vowels) and pruning
(Waterhouse & Robinson 1996).
"""

from phoneme_moe.reproductions.experiment import Experiment
from phoneme_moe.reproductions.hme_1994.drawing import draw
from phoneme_moe.reproductions.hme_1994.findings import WITHIN, conclude
from phoneme_moe.reproductions.hme_1994.systems import (
    FULL,
    GATE_SCALE,
    IN_USE,
    NOISE,
    PRIORS,
    plan,
    run,
)

EXPERIMENT = Experiment(
    name="hme-1994",
    paper="Jordan & Jacobs, Hierarchical mixtures of experts and the EM algorithm, Neural "
    "Computation 6:181-214, 1994; growing: Fritsch, Finke & Waibel, NIPS 9, 1997; pruning: "
    "Waterhouse & Robinson, NIPS 8, 1996",
    question="Does EM need far fewer iterations than gradients to train a tree of experts, does a "
    "tree that grows use experts that a fixed one loses, and what may be pruned?",
    known=(
        "Gates softmax of linear, here with softmax-linear experts; EM: the E-step gives "
        "posteriors h, the M-step fits every expert and gate by iteratively reweighted least "
        "squares, weighted with them",
        "1994 compared epochs on a robot arm (12 inputs, 4 outputs, 15,000 cases, 16 leaves): 35 "
        "by EM, 5,500 for a net by backpropagation (rate 1e-5, momentum 0.15)",
        "1997 grew trees on Peterson & Barney's 1,520 vowels, F0-F3: the expert with the worst "
        "gate-weighted log likelihood is split, its gate random, its experts copies with a "
        "perturbation. A fixed tree of 8 lost half of its experts, a grown one used all, and was "
        "1.6 points more accurate",
        "1996 pruned a path when its log activation is below -5.6, -10 or -15",
    ),
    chosen=(
        "Task: 10 vowels, speakers not heard in training: for each seed a quarter of the men, of "
        "the women and of the children are for testing (19), a fifth of the others (11) for dev, "
        "46 for training. Inputs standardised by the training speakers. How 1997 divided its "
        "tokens is not known. Seeds share speakers, so their intervals are somewhat too narrow",
        "Trees are binary. Gates begin with normal weights of standard deviation "
        f"{GATE_SCALE:g}, experts at 0, the same for EM and gradients of a seed",
        "EM: one step of IRLS in an M-step, halved for an expert or gate that it would make worse; "
        f"{FULL.em} iterations, enough for the level that gradients reach",
        f"Gradient: all tokens in each of {FULL.gradient} epochs, by Rprop (first step 0.01) and, "
        "for 8 leaves, by gradient descent with the paper's momentum of 0.15 and a rate of 20, "
        "the best on training tokens of one seed of 1, 5, 10 and 20; by 40 every second epoch "
        "made things worse, though it got on. Rprop is not of the paper: it is here as "
        "the stronger opponent",
        "Epochs to the common level: for each seed, until the log likelihood of the training "
        f"tokens is within {WITHIN} nats a token of the lower one of the two methods' last; what "
        "either does beyond is left out. An epoch of EM costs more: about 4 of gradients here",
        "Two accuracies: stopped where dev tokens are likeliest, and at the end of training. The "
        "first is the fair one for a size; experts are counted at the end",
        f"Growing: {FULL.between} iterations of EM before each split, {FULL.after} after the last; "
        "the fixed tree has the sum. Perturbation: standard deviation "
        f"{NOISE:g}. Dev stops a grown tree only after its last split",
        f"A prior on all weights, Gaussian of precision {', '.join(f'{p:g}' for p in PRIORS)} (0 "
        "is none), because 46 speakers do not hold back 8 experts: without it dev tokens get less "
        "likely after about 5 iterations, while all experts stay in use",
        f"An expert is in use if it has the largest weight for {100 * IN_USE:g} % of the training "
        "tokens or more. Effective experts: exp of the entropy of the mean weights",
        "Pruning acts on trained trees: paths token by token, weights renormalised; and leaves "
        "for good, by the logarithm of their mean weight over training tokens. What it saves is "
        "counted in paths, not in seconds",
        "Tried on dev tokens of a few seeds before, without making trees more accurate than one "
        "expert on F0-F3: three steps of IRLS, stronger damping, gates of 0.3, 2 and 3, "
        "priors of 0.02 and 2, logarithms of formants, and tokens divided regardless of speakers",
    ),
    shortfalls=(
        "Ten vowels in four formants are nearly linear for speakers not heard before: one "
        "expert is about as good as a tree, so neither growing nor experts kept in use can gain "
        "much. 1997's division of tokens is not known",
        "A fixed tree keeps most experts in use without a prior; with one it loses some, and a "
        "grown tree keeps more of them, but is not more accurate",
    ),
    seeds=10,
    quick_seeds=2,
    plan=plan,
    run=run,
    conclude=conclude,
    draw=draw,
)
