"""Phoneme recognition with speaker-specialised experts behind a learned gate.

The names below are imported when they are first used, so that ``import phoneme_moe`` is quick::

    import phoneme_moe

    trained = phoneme_moe.train("hampshire_waibel")
    run = phoneme_moe.load("runs/hampshire_waibel")
    print(run.transcribe("recording.wav"))
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phoneme_moe.corpora import PreparedCorpus, load_corpus, prepare_corpus
    from phoneme_moe.decoding.decoder import Segment
    from phoneme_moe.errors import ArgumentError, InputError, TrainingInterruptedError
    from phoneme_moe.evaluation.errors import Evaluation
    from phoneme_moe.mixture.networks.functions import register_expert, register_gate
    from phoneme_moe.pipeline import Trained, train
    from phoneme_moe.recipe import Recipe, load_recipe
    from phoneme_moe.report.compare.run import Comparison
    from phoneme_moe.report.run import RunReport
    from phoneme_moe.run import Run, load
    from phoneme_moe.training.adapt import Adaptation
    from phoneme_moe.transcription.align import Alignment
    from phoneme_moe.transcription.transcribe import Failure
    from phoneme_moe.transcription.transcript import Transcript

__version__ = version("phoneme-moe")

# Since 1.29, onnxruntime sends usage data to its maker; torchmetrics imports it, too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Adaptation": "training.adapt",
    "Alignment": "transcription.align",
    "ArgumentError": "errors",
    "Comparison": "report.compare.run",
    "Evaluation": "evaluation.errors",
    "Failure": "transcription.transcribe",
    "InputError": "errors",
    "PreparedCorpus": "corpora",
    "Recipe": "recipe",
    "Run": "run",
    "RunReport": "report.run",
    "Segment": "decoding.decoder",
    "Trained": "pipeline",
    "TrainingInterruptedError": "errors",
    "Transcript": "transcription.transcript",
    "load": "run",
    "load_corpus": "corpora",
    "load_recipe": "recipe",
    "prepare_corpus": "corpora",
    "register_expert": "mixture.networks.functions",
    "register_gate": "mixture.networks.functions",
    "train": "pipeline",
}

__all__ = [
    "Adaptation",
    "Alignment",
    "ArgumentError",
    "Comparison",
    "Evaluation",
    "Failure",
    "InputError",
    "PreparedCorpus",
    "Recipe",
    "Run",
    "RunReport",
    "Segment",
    "Trained",
    "TrainingInterruptedError",
    "Transcript",
    "__version__",
    "load",
    "load_corpus",
    "load_recipe",
    "prepare_corpus",
    "register_expert",
    "register_gate",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"phoneme_moe.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
