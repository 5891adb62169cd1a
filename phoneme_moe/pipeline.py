"""Pipeline from recipe to run folder: corpus, training stages, evaluation, routing report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from phoneme_moe.corpora import PreparedCorpus, ensure_corpus
from phoneme_moe.data.examples import corpus_phonemes
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import ArgumentError
from phoneme_moe.evaluation.calibrate import calibrate
from phoneme_moe.evaluation.errors import Evaluation, evaluate
from phoneme_moe.evaluation.language_model import read_text
from phoneme_moe.files.atomic import is_empty
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.model.front_end import pin_encoders
from phoneme_moe.recipe import Recipe, load_recipe
from phoneme_moe.report.run import RunReport, report_run
from phoneme_moe.run import Run, load
from phoneme_moe.run_folder import choose_device, is_finished, load_run, read_recipe
from phoneme_moe.system.ranks import (
    first_rank_first,
    is_first_rank,
    num_ranks,
    on_first_rank,
    on_first_rank_within,
)
from phoneme_moe.training.loggers import check_trackers


@dataclass(frozen=True)
class Trained:
    """A trained run with its results.

    Attributes:
        run: The run, ready for use.
        evaluation: Errors on the test split.
        routing: Routing report of the test split.
    """

    run: Run
    evaluation: Evaluation
    routing: RunReport


def train(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    changes: Sequence[str] = (),
    device: str = "auto",
    loggers: Sequence[str] = (),
) -> Trained:
    """Trains a recipe, evaluates it on test and reports its routing.

    Args:
        recipe: Name of a shipped recipe, path of a YAML file, or a recipe.
        out: The run folder; ``runs/NAME`` by default.
        resume: Whether to continue interrupted training in the folder.
        changes: Settings to change, each ``section.key=value``.
        device: ``cpu``, ``cuda`` or ``auto``.
        loggers: Experiment trackers that also get the metrics of every epoch: ``wandb``,
            ``mlflow``. TensorBoard's files are always written.

    Returns:
        The run with its evaluation and routing, also written to ``evaluation.json`` and
        ``report/`` in its folder.

    Raises:
        InputError: The recipe, the corpus, the folder or a tracker cannot be used.
        TrainingInterruptedError: Training was stopped from the keyboard and can be resumed.
    """
    trained = train_together(
        recipe, out, resume=resume, changes=changes, device=device, loggers=loggers
    )
    if trained is None:
        raise RuntimeError("this is not the first of the processes: call train_together")
    return trained


def train_together(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    changes: Sequence[str] = (),
    device: str = "auto",
    loggers: Sequence[str] = (),
    spread_experts: bool = False,
    shard_encoder: bool = False,
) -> Trained | None:
    """Trains as one of several processes that have joined (``system.launch.joined``), or alone.

    All of them call it with the same arguments. The first one evaluates, and alone writes.

    Args:
        recipe: As for ``train``, and so the others but the last two.
        out: The run folder.
        resume: Whether to continue.
        changes: Settings to change.
        device: The device.
        loggers: Experiment trackers.
        spread_experts: Whether each process holds a part of the experts of sparse layers, in place
            of a copy of all (``mixture.sparse.spread_experts``). The run is the same.
        shard_encoder: Whether each process holds a shard of the weights that are trained inside a
            pretrained encoder (``model.adapters``), of their gradients and of the optimiser's
            moments, in place of a copy (``training.sharded_encoder``). The run is the same.

    Returns:
        As ``train``; None on all processes but the first.

    Raises:
        InputError: As ``train``.
        OtherProcessError: Another process failed.
        TrainingInterruptedError: As ``train``.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, changes)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    recipe = pin_encoders(recipe, folder)
    choose_device(device)
    check_trackers(loggers)
    if spread_experts and num_ranks() == 1:
        raise ArgumentError("spread_experts", "found one process, expected several")
    if shard_encoder:
        _check_shards(recipe)
    check_folder = partial(_check_folder, folder, recipe, resume)
    on_first_rank(check_folder)
    with first_rank_first():  # which prepares it
        corpus = ensure_corpus(recipe.corpus.name)
    with on_first_rank_within(lock_folder(folder)):
        on_first_rank(check_folder)  # another process may have trained in the meantime
        if not on_first_rank(partial(is_finished, folder)):
            # Lightning takes seconds to import; wrong input is reported before that.
            _check_text(recipe, corpus)
            from phoneme_moe.training.stages import train_stages

            train_stages(recipe, corpus, folder, device, loggers, spread_experts, shard_encoder)
            if is_first_rank():
                calibrate(load_run(folder, device, calibrated=False), corpus)
        if not is_first_rank():
            return None
        run = load(folder, device)
        evaluation = evaluate(run)
        evaluation.save(folder / "evaluation.json")
        return Trained(run, evaluation, report_run(run))


def _check_shards(recipe: Recipe) -> None:
    """Checks that weights inside a pretrained encoder are trained, and can be sharded."""
    if num_ranks() == 1:
        raise ArgumentError("shard_encoder", "found one process, expected several")
    stages = [stage for stage in recipe.training.stages if "experts" in stage.train]
    if recipe.model.adapters is None or not stages:
        raise ArgumentError(
            "shard_encoder",
            "found no pretrained encoder that is fine-tuned, expected model.adapters and a stage "
            "that trains experts",
        )
    for stage in stages:
        if stage.average:
            raise ArgumentError(
                "shard_encoder",
                f"training.stages.{stage.name}.average: found {stage.average}, expected 0: sharded "
                "weights have no moving average",
            )


def _check_text(recipe: Recipe, corpus: PreparedCorpus) -> None:
    """Reads the text of the language model, which is used after training, so that it can be."""
    section = recipe.task.language_model
    if section is not None:
        read_text(section, PhonemeSet(corpus_phonemes(recipe, corpus), has_blank=True))


def _check_folder(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Checks that the folder is empty, or has the same run to resume."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArgumentError("out", f"{folder}: found a file, expected a folder")
    if is_empty(folder):
        return
    if not (folder / "recipe.yaml").is_file():
        raise ArgumentError("out", f"{folder}: neither empty nor a run folder")
    if not resume:
        raise ArgumentError(
            "out", f"{folder}: already contains a run; add resume=True, or choose another folder"
        )
    stored = read_recipe(folder)
    if stored != recipe:
        stored = pin_encoders(stored, folder)  # earlier versions stored less about an encoder
    if stored != recipe:
        key, given, expected = _first_difference(
            recipe.model_dump(mode="json"), stored.model_dump(mode="json")
        )
        raise ArgumentError(
            "resume",
            f"{folder} was started with another recipe: {key}: found {given!r}, "
            f"expected {expected!r} as in {folder / 'recipe.yaml'}",
        )


def _first_difference(given: object, expected: object, key: str = "") -> tuple[str, object, object]:
    if isinstance(given, dict) and isinstance(expected, dict):
        for name in expected:
            if given.get(name) != expected[name]:
                return _first_difference(
                    given.get(name), expected[name], f"{key}.{name}".strip(".")
                )
    if isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        for index, (one, other) in enumerate(zip(given, expected, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{key}.{index}")
    return key, given, expected
