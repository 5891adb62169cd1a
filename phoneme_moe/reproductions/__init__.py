"""The founding experiments of mixtures of experts: published figures beside reproduced ones.

One package per paper: systems (data and training), findings (tables and claims), drawing. Importing
this one is quick.
"""

from phoneme_moe.reproductions.registry import EXPERIMENTS, load_experiment

__all__ = ["EXPERIMENTS", "load_experiment"]
