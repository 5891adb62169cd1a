"""What a mixture of experts is not: one dense net, an average, a vote, a forest, boosted trees."""

from phoneme_moe.reproductions.ensembles.drawing import draw
from phoneme_moe.reproductions.ensembles.findings import conclude
from phoneme_moe.reproductions.ensembles.systems import EPOCHS, STEPS, plan, run
from phoneme_moe.reproductions.ensembles.tokens_task import NARROW, NETS, WIDE
from phoneme_moe.reproductions.ensembles.trees import (
    BOOSTED_DEPTH,
    BOOSTING_ROUNDS,
    FOREST_TREES,
    SLOWNESS,
)
from phoneme_moe.reproductions.ensembles.vowels_task import EXPERTS, PRIOR
from phoneme_moe.reproductions.experiment import Experiment
from phoneme_moe.reproductions.tokens import prepare_announcers

EXPERIMENT = Experiment(
    name="ensembles",
    paper="No paper: mixtures of experts beside what they are compared with since",
    question="Is it the division of labour that helps, or only the number of parameters, or only "
    "that many are asked? And what does a decision cost?",
    known=("Nothing is published for these tasks; rows compare with each other",),
    chosen=(
        "Tokens: the six announcers of hampshire-waibel. The mixture is Meta-Pi with softmax "
        "gates. Nets beside it are Multiple TDNNs, trained on the same three objectives for as "
        f"many epochs ({EPOCHS}): one with {WIDE} first-layer units (as many connections as all "
        f"modules and the gate), one with {NARROW} (as many as the gate and one module), and "
        f"{NETS} of 8 units, trained independently, averaged by the normalised sum or by vote",
        f"Vowels: a mixture of {EXPERTS} softmax-linear experts by EM (prior {PRIOR:g}), nets with "
        "one hidden layer of as many parameters, on speakers not heard in training, divided by "
        f"seed; Adam on all tokens, at most {STEPS} steps; dev speakers stop mixture and nets",
        f"Trees: a random forest of {FOREST_TREES} (scikit-learn), gradient boosting of "
        f"{BOOSTING_ROUNDS} rounds of depth {BOOSTED_DEPTH} and shrinkage {SLOWNESS:g} "
        "(scikit-learn; XGBoost where it is installed: extra boosting); not tuned",
        "Cost: a net's weights and connections as published nets are counted; of trees, thresholds "
        "and feature numbers of nodes on the path, values of leaves, comparisons and sums, with "
        "scikit-learn's boosting as if all its trees were whole. Touched parameters of a TDNN are "
        "few beside its multiply-adds, because weights are shared over time",
    ),
    shortfalls=(
        "One dense net of the mixture's total size is better than the mixture on both tasks: "
        "with tokens of so few speakers sharing is worth more than division of labour. What the "
        "mixture has is its cost: its strongest expert alone does as well at a third of the "
        "multiply-adds, as well as a dense net of that size",
    ),
    seeds=5,
    quick_seeds=1,
    plan=plan,
    run=run,
    conclude=conclude,
    prepare=prepare_announcers,
    draw=draw,
)
