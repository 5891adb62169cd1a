"""What a mixture of experts is not: one dense net, an average, a vote, a forest, boosted trees."""

from phoneme_moe_reproductions.ensembles import systems, trees
from phoneme_moe_reproductions.ensembles.findings import conclude, draw
from phoneme_moe_reproductions.experiment import Experiment, read_description
from phoneme_moe_reproductions.tokens import prepare_announcers

EXPERIMENT = Experiment(
    name="ensembles",
    description=read_description(
        "ensembles/description",
        values={**vars(systems), "trees": trees},
    ),
    seeds=5,
    quick_seeds=1,
    plan=systems.plan,
    run=systems.run,
    conclude=conclude,
    draw=draw,
    prepare=prepare_announcers,
)
