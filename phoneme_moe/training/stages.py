"""Training of all stages of a recipe into a run folder, with resuming."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, corpus_phonemes, load_examples
from phoneme_moe.data.speakers import corpus_speakers, expert_speakers, require_dev_speakers
from phoneme_moe.data.stream import SpeechStream
from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import remove_temporaries
from phoneme_moe.files.weight_files import read_weights
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.model.timing_net import TimingNet
from phoneme_moe.recipe import Adapters, Recipe, Timing
from phoneme_moe.recipe.router import numbered_experts
from phoneme_moe.run_folder import choose_device, save_model, save_recipe, with_encoder_of
from phoneme_moe.system.ranks import first_rank_first, is_first_rank, on_first_rank
from phoneme_moe.training.checkpoints import repeatable
from phoneme_moe.training.expert_weights import copy_to_all_experts, single_expert
from phoneme_moe.training.fit import StageFolder, fit_stage
from phoneme_moe.training.gate_clusters import separate_copies
from phoneme_moe.training.grow import START
from phoneme_moe.training.initial_weights import copy_initial_weights
from phoneme_moe.training.minibatch import Schedule
from phoneme_moe.training.pronunciations import with_likeliest_pronunciations
from phoneme_moe.training.teacher import with_posteriors
from phoneme_moe.training.timing_net import fit_timing_net

FEWEST_TIMING_STEPS = 200
"""Fewest training steps of the timing net; a small corpus gets more epochs."""

TIMING_UTTERANCES = 1_000
"""Utterances of a stream from which the timing net learns."""

ENCODER = "encoder"
"""The expert name of a model without speaker experts."""


def build_recognizer(recipe: Recipe, corpus: PreparedCorpus) -> Recognizer:
    """Builds the recipe's model with initial weights that depend on its seed.

    Raises:
        InputError: The recipe does not fit the corpus, or a function in it is not registered.
    """
    model = recipe.model
    speakers = corpus_speakers(recipe, corpus)
    experts: tuple[str, ...]
    if model.encoder is not None:
        torch.manual_seed(recipe.seed)
        phonemes = corpus_phonemes(recipe, corpus)
        names = _adapter_names(model.adapters, recipe, corpus) if model.adapters else (ENCODER,)
        return Recognizer(recipe.features, recipe.task, model, phonemes, names)
    if model.expert.function is not None:
        experts = (model.expert.function,)
    elif model.num_experts == "speakers":
        experts = expert_speakers(recipe, corpus)
        require_dev_speakers(recipe, corpus)
    elif model.num_experts == 1 and len(speakers) == 1:
        experts = speakers
    else:
        experts = numbered_experts(model.num_experts)
    for name in model.functions:
        if name in experts:
            raise InputError(f"model.functions: {name!r} is the name of another expert")
    torch.manual_seed(recipe.seed)
    return Recognizer(
        recipe.features,
        recipe.task,
        model,
        corpus_phonemes(recipe, corpus),
        (*experts, *model.functions),
    )


def _adapter_names(adapters: Adapters, recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Names of the experts inside a pretrained encoder."""
    if adapters.num_experts == "speakers":
        return expert_speakers(recipe, corpus)
    return numbered_experts(adapters.num_experts) if adapters.num_experts > 1 else (ENCODER,)


def train_stages(
    recipe: Recipe,
    corpus: PreparedCorpus,
    folder: Path,
    device: str = "auto",
    trackers: Sequence[str] = (),
    spread: bool = False,
    shard: bool = False,
) -> Recognizer:
    """Trains every unfinished stage and completes the run folder.

    Of processes that train together (``system.ranks``) the first one writes.

    Args:
        recipe: The recipe.
        corpus: The recipe's prepared corpus.
        folder: The run folder; an interrupted training in it is resumed.
        device: ``cpu``, ``cuda`` or ``auto``.
        trackers: Experiment trackers besides TensorBoard (``training.loggers``).
        spread: Whether each process holds a part of the experts (``training.spread``).
        shard: Whether each process holds a shard of the pretrained encoder's trained weights
            (``training.sharded_encoder``).

    Returns:
        The trained model in evaluation mode; on other processes than the first, without what is
        trained last, the timing net.

    Raises:
        InputError: The recipe does not fit the corpus, or a tracker cannot be opened.
        TrainingInterruptedError: The user pressed Ctrl-C.
    """
    _quieten_libraries()
    keep_freed_memory()
    # What is stored names the encoder as the recipe does, so that the folder may be moved.
    portable = recipe
    features = with_encoder_of(folder, recipe.features)
    recipe = recipe.model_copy(update={"features": features})
    recognizer = build_recognizer(recipe, corpus)
    if is_first_rank():
        save_recipe(folder, portable)
    speakers = corpus_speakers(recipe, corpus)
    teacher = recipe.training.teacher
    speeds = recipe.training.sound_speeds
    with first_rank_first():  # which stores features
        train: Sequence[Example] | SpeechStream
        if recipe.training.stream is None:
            train = load_examples(recipe, corpus, "train", recognizer, speakers, teacher, speeds)
        else:
            train = SpeechStream.open(recipe, corpus, recognizer, speakers)
        dev = load_examples(recipe, corpus, "dev", recognizer, speakers)
    if not isinstance(train, SpeechStream):
        if teacher is not None and teacher.run is not None:
            train = with_posteriors(train, recipe, corpus, recognizer, speakers)
        for example in (*train, *dev):
            recognizer.phonemes.encode(example.phonemes)
    if is_first_rank():
        remove_temporaries(folder)
    start = folder / START
    if os.path.lexists(start):
        recognizer.load_state_dict(read_weights(start, recognizer.state_dict()))
    elif recipe.training.initial_weights is not None:
        first = StageFolder.of(folder, 0, recipe.training.stages[0])
        if not os.path.lexists(first.final):  # else they are not needed, and may be gone
            copy_initial_weights(recipe.training.initial_weights, recognizer)
    for index, stage in enumerate(recipe.training.stages):
        stage_folder = StageFolder.of(folder, index, stage)
        learner = single_expert(recognizer, recipe) if stage.route == "shared" else recognizer
        if not on_first_rank(partial(os.path.lexists, stage_folder.final)):
            chosen = train
            if not isinstance(train, SpeechStream):
                if "gate" in stage.train and recognizer.adapted is not None:
                    separate_copies(recognizer.adapted, [e.features for e in train], recipe.seed)
                if stage.pronunciations == "likeliest":
                    chosen = with_likeliest_pronunciations(learner, train)
            fit_stage(learner, recipe, index, chosen, dev, folder, device, trackers, spread, shard)
        with repeatable(stage_folder.path):
            learner.load_state_dict(read_weights(stage_folder.final, learner.state_dict()))
        if stage.route == "shared":
            copy_to_all_experts(learner, recognizer)
    if not is_first_rank():
        return recognizer
    if recipe.training.timing is not None and recipe.task.kind == "recognize":
        if isinstance(train, SpeechStream):
            train = train.sample(TIMING_UTTERANCES)
        recognizer.timing = _fit_timing(recognizer, recipe, recipe.training.timing, train)
    recognizer.to(choose_device(device)).eval()
    save_model(folder, portable, recognizer)
    return recognizer


def _fit_timing(
    recognizer: Recognizer, recipe: Recipe, timing: Timing, train: Sequence[Example]
) -> TimingNet:
    """Trains the timing net, from the beginning after an interruption: it is fast."""
    steps = -(-len(train) // timing.batch_size)
    epochs = max(timing.epochs, -(-FEWEST_TIMING_STEPS // steps))
    return fit_timing_net(
        [example.features for example in train],
        [torch.tensor(recognizer.phonemes.encode(example.phonemes)) for example in train],
        recognizer.phonemes.num_outputs,
        Schedule(epochs, timing.learning_rate, timing.batch_size),
        recipe.seed,
        timing.width,
        timing.prior_scale,
    )


def _quieten_libraries() -> None:
    """Silences messages about hardware, workers and buffers, which users cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", module="lhotse.*")


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory instead of returning it to the system.

    By default every tensor above 128 KiB is mapped anew, and its page faults take 15 % of a
    training step of the FSDD mixture. Does nothing without glibc.
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
