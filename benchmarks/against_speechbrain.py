"""SpeechBrain's TIMIT recipe against ours: same utterances, phonemes, scoring and training time.

``python -m benchmarks.against_speechbrain --recipe dense --epochs N`` trains, one after the other
and each in a separate process, our recipe, SpeechBrain's CRDNN-CTC narrowed to as many parameters,
and the same at full size (``benchmarks.speechbrain_model``). Theirs stop after ``--minutes``; ours
has a schedule, so ``--epochs`` sets its length, and the page states the time. Models that are
trained already are not trained again, unless settings differ. ``--quick`` takes seconds on few
utterances, and keeps nothing.

Training time is wall clock without evaluation on dev and test. Ours counts from the call of
``train`` to the end of the last step, with audio loading, features and checkpoints; theirs counts
training steps only, which include features and augmentation, computed anew each time. The memory
setting of ours (``keep_freed_memory``) applies to theirs as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks import page, results
from benchmarks.results import table
from benchmarks.speechbrain_model import (
    SAMPLE_RATE,
    Crdnn,
    Sound,
    Widths,
    fit,
    narrowed,
    num_parameters,
    part,
    recognize,
    score,
    side_by_side,
    sorted_batches,
)
from phoneme_moe.audio.waveform import resample
from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.decoding.scoring import Score
from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, load_recipe

NAME = "against_speechbrain"
MODELS = {
    "ours": "ours",
    "narrowed": "SpeechBrain CRDNN, narrowed",
    "full": "SpeechBrain CRDNN",
}
INFERENCE_BATCHES = (8, 32)
"""Batch sizes when inference is timed; the faster one counts, for each model."""

UNTRAINED_PER = 0.95
"""PER from which a CTC model still outputs mostly blanks."""

SETTINGS_KEY = "settings"
"""Key of a model's settings in the kept figures."""

FEWER_ERRORS = 0.20
TIMES_FASTER = 3.0


@dataclass(frozen=True)
class Settings:
    """Settings of a comparison; figures hold for these only.

    Attributes:
        recipe: Ours.
        epochs: Of the last stage of our recipe; the recipe's when None.
        minutes: Training time of theirs.
        threads: CPU threads.
        quick: One utterance of each speaker.
    """

    recipe: str
    epochs: int | None
    minutes: float
    threads: int
    quick: bool

    @property
    def changes(self) -> list[str]:
        """Overrides of our recipe."""
        changes = ["corpus.max_utterances=1"] if self.quick else []
        if self.epochs is not None:
            last = load_recipe(self.recipe).training.stages[-1].name
            changes.append(f"training.stages.{last}.epochs={self.epochs}")
        return changes

    def to_json(self, model: str) -> dict[str, Any]:
        """Settings that affect a model: the full one does not depend on our recipe."""
        settings: dict[str, Any] = {"minutes": self.minutes, "threads": self.threads}
        if model != "full":
            settings["recipe"] = self.recipe
        if model == "ours":
            settings["epochs"] = self.epochs
        return settings


def load_sounds(recipe: Recipe, corpus: PreparedCorpus, split: str) -> list[Sound]:
    """The utterances that ``load_examples`` gives our recipe, as waveforms."""
    from phoneme_moe.data.speakers import corpus_speakers
    from phoneme_moe.data.utterances import split_cuts

    speakers = corpus.speakers if split == "test" else corpus_speakers(recipe, corpus)
    sounds = []
    for cut in split_cuts(recipe, corpus, split, speakers):
        samples = cut.load_audio()[0].astype("float32")
        waveform = torch.from_numpy(resample(samples, cut.sampling_rate, SAMPLE_RATE))
        sounds.append(Sound(cut.id, tuple(cut.supervisions[0].custom["phonemes"]), waveform))
    return sounds


def inference_rate(
    recognize: Callable[[Sequence[Sound], int], object], sounds: Sequence[Sound]
) -> float:
    """Frames per second from waveforms to phonemes, at the faster batch size.

    Args:
        recognize: Recognises utterances, given a batch size.
        sounds: All of the test split.
    """
    frames = sum(sound.num_frames for sound in sounds)
    rates = []
    for batch_size in INFERENCE_BATCHES:
        recognize(sounds[:batch_size], batch_size)
        start = time.perf_counter()
        recognize(sounds, batch_size)
        rates.append(frames / (time.perf_counter() - start))
    return max(rates)


def figures_of(total: Score, dev_error: float, seconds: float, epochs: float) -> dict[str, Any]:
    """Figures common to both sides."""
    return {
        "per": total.error_rate,
        "interval": list(total.interval),
        "dev_per": dev_error,
        "utterances": total.num_utterances,
        "phonemes": total.num_reference,
        "seconds": seconds,
        "epochs": epochs,
        "machine": results.machine(),
    }


def measure_theirs(settings: Settings, full: bool) -> dict[str, Any]:
    """Trains SpeechBrain's model, at its own size or narrowed to our number of parameters."""
    from phoneme_moe.training.stages import build_recognizer, keep_freed_memory

    keep_freed_memory()
    recipe = load_recipe(settings.recipe, settings.changes)
    corpus = load_corpus(recipe.corpus.name)
    ours = build_recognizer(recipe, corpus)
    phonemes = PhonemeSet(ours.phonemes.symbols, has_blank=True)
    widths = Widths() if full else narrowed(num_parameters(ours), phonemes.num_outputs)
    train, dev, test = (load_sounds(recipe, corpus, split) for split in ("train", "dev", "test"))
    fitted = fit(widths, phonemes, train, dev, 60 * settings.minutes)
    crdnn: Crdnn = fitted.model
    total = score(test, recognize(crdnn, test, phonemes))
    return figures_of(total, fitted.dev_error, fitted.seconds, fitted.epochs) | {
        "widths": [*widths.cnn, widths.rnn, widths.dnn],
        "parameters": num_parameters(crdnn),
        "frames_per_second": fitted.frames / fitted.seconds,
        "corpus_frames_per_second": fitted.corpus_frames / fitted.seconds,
        "inference_frames_per_second": inference_rate(
            lambda sounds, size: recognize(crdnn, sounds, phonemes, size), test
        ),
    }


def measure_ours(settings: Settings) -> dict[str, Any]:
    """Trains our recipe as ``phoneme-moe train`` does."""
    from phoneme_moe.evaluation.errors import evaluate
    from phoneme_moe.pipeline import train

    recipe = load_recipe(settings.recipe, settings.changes)
    folder = Path("runs/benchmarks") / NAME
    shutil.rmtree(folder, ignore_errors=True)
    clock = TrainingClock()
    with clock.timing():
        trained = train(recipe, folder)
    seconds = clock.seconds
    corpus = load_corpus(recipe.corpus.name)
    recognizer = trained.run.recognizer
    epochs = sum(stage.epochs for stage in recipe.training.stages)
    frames = epochs * sum(sound.num_frames for sound in load_sounds(recipe, corpus, "train"))
    test = load_sounds(recipe, corpus, "test")
    # Greedy decoding, as theirs.
    dev_error = evaluate(trained.run, "dev", beam=0).total.error_rate
    test_errors = evaluate(trained.run, beam=0).total
    shutil.rmtree(folder)
    return figures_of(test_errors, dev_error, seconds, epochs) | {
        "parameters": num_parameters(recognizer),
        "frames_per_second": frames / seconds,
        "corpus_frames_per_second": frames / seconds,
        "inference_frames_per_second": inference_rate(
            lambda sounds, size: recognize_ours(recognizer, sounds, size), test
        ),
    }


@torch.no_grad()
def recognize_ours(
    recognizer: Recognizer, sounds: Sequence[Sound], batch_size: int
) -> list[list[str]]:
    """Phonemes of utterances from their waveforms, by our model."""
    from phoneme_moe.inference import decode_phonemes

    hypotheses = []
    for batch in sorted_batches(sounds, batch_size):
        waveforms, _ = side_by_side(batch)
        num_samples = torch.tensor([len(sound.waveform) for sound in batch])
        recognition = recognizer.recognize_waveforms(waveforms, num_samples)
        hypotheses += decode_phonemes(recognizer, recognition, beam=0)
    return hypotheses


class TrainingClock:
    """Seconds from now to the last training step, without evaluation on dev."""

    def __init__(self) -> None:
        self.started = self.ended = time.perf_counter()
        self.evaluating = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        assert self.ended > self.started, "nothing was trained by Lightning"
        return self.ended - self.started - self.evaluating

    def timing(self) -> Any:
        """A context in which every Lightning trainer is timed."""
        import lightning.pytorch as pl

        clock = self

        class Timer(pl.Callback):
            def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.ended = time.perf_counter()

            def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.evaluating += time.perf_counter() - clock.ended

            def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.ended = time.perf_counter()

        plain = pl.Trainer.fit

        def timed_fit(trainer: pl.Trainer, *arguments: Any, **options: Any) -> None:
            # Lightning sets the list from outside the class, so that mypy does not see it.
            trainer.callbacks.append(Timer())  # type: ignore[attr-defined]
            plain(trainer, *arguments, **options)

        return mock.patch.object(pl.Trainer, "fit", timed_fit)


def measure(model: str, settings: Settings) -> dict[str, Any]:
    """Trains and measures one model."""
    if model == "ours":
        return measure_ours(settings)
    return measure_theirs(settings, full=model == "full")


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    ours, narrow = figures.get("ours"), figures.get("narrowed")
    any_of = next(iter(figures.values()))
    minutes = any_of[SETTINGS_KEY]["minutes"]
    head = [
        "model",
        "parameters",
        "PER, %",
        "95 % interval",
        "dev PER, %",
        "minutes",
        "epochs",
        "training frames/s",
        "without copies",
        "inference frames/s",
    ]
    rows = []
    for model, title in MODELS.items():
        if row := figures.get(model):
            low, high = row["interval"]
            if model == "ours":
                title = f"ours, `{row[SETTINGS_KEY]['recipe']}`"
            rows.append(
                [
                    title,
                    f"{row['parameters']:,}",
                    f"{100 * row['per']:.1f}",
                    f"{100 * low:.1f} to {100 * high:.1f}",
                    f"{100 * row['dev_per']:.1f}",
                    f"{row['seconds'] / 60:.1f}",
                    f"{row['epochs']:.1f}",
                    f"{row['frames_per_second']:,.0f}",
                    f"{row['corpus_frames_per_second']:,.0f}",
                    f"{row['inference_frames_per_second']:,.0f}",
                ]
            )
    text = (
        "## Against SpeechBrain\n\nThe CRDNN with CTC of SpeechBrain's TIMIT recipe "
        "(`benchmarks/speechbrain_model.py` states what is theirs), the same with all\nwidths "
        "narrowed by one factor to our number of parameters, and ours, trained one after the other "
        "on the train speakers\nof speechocean762: theirs for "
        f"{minutes:g} minutes, evaluation not counted. The same {any_of['utterances']} "
        f"test utterances\n({any_of['phonemes']:,} phonemes, no folding) of unseen speakers, "
        "greedy "
        f"decoding. On {any_of['machine']}.\nFrames are real frames of 10 ms, "
        "padding not counted. SpeechBrain trains on each utterance and a perturbed copy of it:\n"
        "*training frames/s* counts both, *without copies* only the corpus. Inference is "
        "from waveforms to phonemes.\n\n" + table(head, rows)
    )
    if ours and narrow:
        text += "\n" + _verdict(ours, narrow, minutes)
    return text


def _verdict(ours: dict[str, Any], narrow: dict[str, Any], minutes: float) -> str:
    fewer = 1 - ours["per"] / narrow["per"]
    faster = ours["frames_per_second"] / narrow["frames_per_second"]
    without = ours["corpus_frames_per_second"] / narrow["corpus_frames_per_second"]
    result = "met" if fewer >= FEWER_ERRORS and faster >= TIMES_FASTER else "**not met**"
    text = (
        f"Ours makes {100 * fewer:.1f} % fewer errors than the narrowed one (target: "
        f"{100 * FEWER_ERRORS:.0f} %) at {faster:.1f} times its training throughput\n(target: "
        f"{TIMES_FASTER:.0f} times; {without:.1f} times without the copies): {result}.\n"
    )
    if narrow["per"] >= UNTRAINED_PER:
        text += (
            f"After {narrow['epochs']:.1f} passes over the speech the narrowed one still outputs "
            "mostly blanks: this compares how fast the two learn\non this machine, not what they "
            "reach with enough time.\n"
        )
    if ours["seconds"] > 60 * minutes:
        text += f"Ours exceeded the budget by {ours['seconds'] / 60 - minutes:.1f} minutes.\n"
    return text


def main() -> None:
    """Measures the models that are missing, prints the table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="dense", help="ours")
    parser.add_argument("--epochs", type=int, help="of our recipe's last stage")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, for theirs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=MODELS, help="measure one of them")
    parser.add_argument("--quick", action="store_true", help="seconds, nothing kept")
    arguments = parser.parse_args()
    try:
        # Fails before an hour is spent on ours.
        part("lobes.models.CRDNN", "CRDNN")
    except InputError as error:
        raise SystemExit(str(error)) from error
    settings = Settings(
        arguments.recipe, arguments.epochs, arguments.minutes, arguments.threads, arguments.quick
    )
    if arguments.quick:
        settings = Settings(arguments.recipe, arguments.epochs or 1, 0.1, arguments.threads, True)
    figures = {} if arguments.quick else results.read(NAME)
    context = multiprocessing.get_context("spawn")
    for model in [arguments.only] if arguments.only else list(MODELS):
        current = settings.to_json(model)
        if figures.get(model, {}).get(SETTINGS_KEY) == current:
            continue
        print(f"training: {MODELS[model]}", flush=True)
        with ProcessPoolExecutor(1, context, torch.set_num_threads, (settings.threads,)) as pool:
            measured = pool.submit(measure, model, settings).result()
        figures[model] = measured | {SETTINGS_KEY: current}
        if not arguments.quick:
            results.keep(NAME, figures)
    test_sets = {(row["utterances"], row["phonemes"]) for row in figures.values()}
    assert len(test_sets) == 1, "figures are of different test utterances"
    print(section(figures), flush=True)
    if not arguments.quick:
        page.write()


if __name__ == "__main__":
    main()
