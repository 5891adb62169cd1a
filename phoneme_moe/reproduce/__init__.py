"""The founding experiments of mixtures of experts: published figures beside reproduced ones.

One file per paper; each describes itself as an ``Experiment``. Importing this package is quick.
"""

from phoneme_moe.reproduce.registry import EXPERIMENTS, load_experiment

__all__ = ["EXPERIMENTS", "load_experiment"]
