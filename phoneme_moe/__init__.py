"""Phoneme recognition with speaker-specialised experts behind a learned gate.

The names below are imported when they are first used, so that ``import phoneme_moe`` is quick::

    from phoneme_moe import evaluate, load, train

    trained = train("hampshire_waibel")
    run = load("runs/hampshire_waibel")
    print(run.transcribe("recording.wav").segments)
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("phoneme-moe")

_HOMES = {
    "InputError": "phoneme_moe.errors",
    "Recipe": "phoneme_moe.recipe",
    "load_recipe": "phoneme_moe.recipe",
    "Run": "phoneme_moe.run",
    "load": "phoneme_moe.run",
    "train": "phoneme_moe.pipeline",
    "evaluate": "phoneme_moe.evaluation.errors",
    "transcribe": "phoneme_moe.transcription.run_engine",
    "report_run": "phoneme_moe.report.run",
    "prepare_corpus": "phoneme_moe.corpora",
    "load_corpus": "phoneme_moe.corpora",
    "register_expert": "phoneme_moe.mixture.networks.functions",
    "register_gate": "phoneme_moe.mixture.networks.functions",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
