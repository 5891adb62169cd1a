"""SpeechBrain's TIMIT recipe against ours: same utterances, phonemes, scoring and time to train.

``python -m benchmarks.against_speechbrain --recipe dense --epochs N`` trains, one after the other
and each in a process of its own, our recipe, SpeechBrain's CRDNN-CTC narrowed to as many parameters
and the same at its full size (``benchmarks.speechbrain_model`` says what is theirs). Theirs stop
when ``--minutes`` are over; ours has a schedule, so ``--epochs`` says how long it is, and the page
says what it took. Interrupt it at will: whoever has finished is not trained again, unless something
else is asked for. ``--quick`` takes seconds on few utterances, and keeps nothing.

Time to train is wall clock without evaluation on dev and test. Ours counts from the call of
``train`` to the end of the last step, with reading of sound, features, checkpoints; theirs counts
training steps only, which include features and augmentation as they are computed anew each time.
The memory setting that ours uses (``keep_freed_memory``) is given to theirs as well.
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

from benchmarks import results
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
from benchmarks.tables import table
from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.corpora.splits import limit_utterances
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.decoding.scoring import Score
from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import resample
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, load_recipe

NAME = "against_speechbrain"
CONTESTANTS = {
    "ours": "ours",
    "narrowed": "SpeechBrain CRDNN, narrowed",
    "full": "SpeechBrain CRDNN",
}
INFERENCE_BATCHES = (8, 32)
"""Utterances side by side when inference is timed; the faster one counts, for each contestant."""

SAYS_NOTHING = 0.95
"""PER from which a model is still at the beginning, where CTC answers with blanks."""

FEWER_ERRORS = 0.20
TIMES_FASTER = 3.0


@dataclass(frozen=True)
class Asked:
    """What a contestant is asked to do; figures hold only for this.

    Attributes:
        recipe: Ours.
        epochs: Of the last stage of our recipe; its own when None.
        minutes: Time that theirs train.
        threads: Of the processor.
        quick: One utterance of each speaker.
    """

    recipe: str
    epochs: int | None
    minutes: float
    threads: int
    quick: bool

    @property
    def changes(self) -> list[str]:
        """Settings of our recipe that are changed."""
        changes = ["corpus.max_utterances=1"] if self.quick else []
        if self.epochs is not None:
            last = load_recipe(self.recipe).training.stages[-1].name
            changes.append(f"training.stages.{last}.epochs={self.epochs}")
        return changes

    def to_json(self, contestant: str) -> dict[str, Any]:
        """What counts for a contestant: the full model does not hang on our recipe's epochs."""
        asked: dict[str, Any] = {"minutes": self.minutes, "threads": self.threads}
        if contestant != "full":
            asked["recipe"] = self.recipe
        if contestant == "ours":
            asked["epochs"] = self.epochs
        return asked


def load_sounds(recipe: Recipe, corpus: PreparedCorpus, split: str) -> list[Sound]:
    """The utterances that ``load_examples`` gives our recipe, as sound."""
    from phoneme_moe.data.examples import corpus_speakers

    wanted = corpus.speakers if split == "test" else corpus_speakers(recipe, corpus)
    cuts = [cut for cut in corpus.cuts(split) if cut.supervisions[0].speaker in wanted]
    if recipe.corpus.max_utterances:
        cuts = limit_utterances(cuts, recipe.corpus.max_utterances)
    sounds = []
    for cut in cuts:
        samples = cut.load_audio()[0].astype("float32")
        waveform = torch.from_numpy(resample(samples, cut.sampling_rate, SAMPLE_RATE))
        sounds.append(Sound(cut.id, tuple(cut.supervisions[0].custom["phonemes"]), waveform))
    return sounds


def inference_rate(
    answer: Callable[[Sequence[Sound], int], object], sounds: Sequence[Sound]
) -> float:
    """Frames a second from waveforms to phonemes, at the batch size that is faster.

    Args:
        answer: Recognises utterances, so many side by side.
        sounds: All of the test split.
    """
    frames = sum(sound.num_frames for sound in sounds)
    rates = []
    for batch_size in INFERENCE_BATCHES:
        answer(sounds[:batch_size], batch_size)
        start = time.perf_counter()
        answer(sounds, batch_size)
        rates.append(frames / (time.perf_counter() - start))
    return max(rates)


def figures_of(total: Score, dev_error: float, seconds: float, epochs: float) -> dict[str, Any]:
    """What both sides have to tell."""
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


def measure_theirs(asked: Asked, full: bool) -> dict[str, Any]:
    """Trains SpeechBrain's model, at its own size or narrowed to our number of parameters."""
    from phoneme_moe.training.stages import build_recognizer, keep_freed_memory

    keep_freed_memory()
    recipe = load_recipe(asked.recipe, asked.changes)
    corpus = load_corpus(recipe.corpus.name)
    ours = build_recognizer(recipe, corpus)
    phonemes = PhonemeSet(ours.phonemes.symbols, has_blank=True)
    widths = Widths() if full else narrowed(num_parameters(ours), phonemes.num_outputs)
    train, dev, test = (load_sounds(recipe, corpus, split) for split in ("train", "dev", "test"))
    fitted = fit(widths, phonemes, train, dev, 60 * asked.minutes)
    model: Crdnn = fitted.model
    total = score(test, recognize(model, test, phonemes))
    return figures_of(total, fitted.dev_error, fitted.seconds, fitted.epochs) | {
        "widths": [*widths.cnn, widths.rnn, widths.dnn],
        "parameters": num_parameters(model),
        "frames_per_second": fitted.frames / fitted.seconds,
        "corpus_frames_per_second": fitted.corpus_frames / fitted.seconds,
        "inference_frames_per_second": inference_rate(
            lambda sounds, size: recognize(model, sounds, phonemes, size), test
        ),
    }


def measure_ours(asked: Asked) -> dict[str, Any]:
    """Trains our recipe as ``phoneme-moe train`` does."""
    from phoneme_moe.evaluation.errors import evaluate
    from phoneme_moe.pipeline import train

    recipe = load_recipe(asked.recipe, asked.changes)
    folder = Path("runs/benchmarks") / NAME
    shutil.rmtree(folder, ignore_errors=True)
    clock = TrainingClock()
    with clock.beside_training():
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
            lambda sounds, size: answer_ours(recognizer, sounds, size), test
        ),
    }


@torch.no_grad()
def answer_ours(
    recognizer: Recognizer, sounds: Sequence[Sound], batch_size: int
) -> list[list[str]]:
    """Phonemes of utterances, from their waveforms, as our model hears them."""
    from phoneme_moe.inference import decode_phonemes

    answers = []
    for batch in sorted_batches(sounds, batch_size):
        waveforms, _ = side_by_side(batch)
        num_samples = torch.tensor([len(sound.waveform) for sound in batch])
        recognition = recognizer.recognize_waveforms(waveforms, num_samples)
        answers += decode_phonemes(recognizer, recognition, beam=0)
    return answers


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

    def beside_training(self) -> Any:
        """While this context lasts, every Lightning trainer is watched."""
        import lightning.pytorch as pl

        clock = self

        class Watch(pl.Callback):
            def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.ended = time.perf_counter()

            def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.evaluating += time.perf_counter() - clock.ended

            def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
                clock.ended = time.perf_counter()

        plain = pl.Trainer.fit

        def watched(trainer: pl.Trainer, *arguments: Any, **options: Any) -> None:
            # Lightning sets the list from outside the class, so that its type does not show.
            trainer.callbacks.append(Watch())  # type: ignore[attr-defined]
            plain(trainer, *arguments, **options)

        return mock.patch.object(pl.Trainer, "fit", watched)


def measure(contestant: str, asked: Asked) -> dict[str, Any]:
    """Figures of one contestant."""
    if contestant == "ours":
        return measure_ours(asked)
    return measure_theirs(asked, full=contestant == "full")


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    ours, narrow = figures.get("ours"), figures.get("narrowed")
    any_of = next(iter(figures.values()))
    minutes = any_of["asked"]["minutes"]
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
    for contestant, title in CONTESTANTS.items():
        if found := figures.get(contestant):
            low, high = found["interval"]
            if contestant == "ours":
                title = f"ours, `{found['asked']['recipe']}`"
            rows.append(
                [
                    title,
                    f"{found['parameters']:,}",
                    f"{100 * found['per']:.1f}",
                    f"{100 * low:.1f} to {100 * high:.1f}",
                    f"{100 * found['dev_per']:.1f}",
                    f"{found['seconds'] / 60:.1f}",
                    f"{found['epochs']:.1f}",
                    f"{found['frames_per_second']:,.0f}",
                    f"{found['corpus_frames_per_second']:,.0f}",
                    f"{found['inference_frames_per_second']:,.0f}",
                ]
            )
    text = (
        "## Against SpeechBrain\n\nThe CRDNN with CTC of SpeechBrain's TIMIT recipe "
        "(`benchmarks/speechbrain_model.py` says what is theirs), once more with all\nwidths "
        "narrowed by one factor to our number of parameters, and ours, trained one after the other "
        "on the train speakers\nof speechocean762: theirs until "
        f"{minutes:g} minutes are over, evaluation not counted. The same {any_of['utterances']} "
        f"test\nutterances ({any_of['phonemes']:,} phonemes, no folding) of speakers that nobody "
        f"has heard, greedy decoding. On {any_of['machine']}.\nFrames are real frames of 10 ms, "
        "padding not counted. SpeechBrain trains on each utterance and a perturbed copy of it:\n"
        "*training frames/s* counts both, *without copies* what the corpus has. Inference goes "
        "from waveforms to phonemes.\n\n" + table(head, rows)
    )
    if ours and narrow:
        text += "\n" + _verdict(ours, narrow, minutes)
    return text


def _verdict(ours: dict[str, Any], narrow: dict[str, Any], minutes: float) -> str:
    fewer = 1 - ours["per"] / narrow["per"]
    faster = ours["frames_per_second"] / narrow["frames_per_second"]
    without = ours["corpus_frames_per_second"] / narrow["corpus_frames_per_second"]
    reached = "reached" if fewer >= FEWER_ERRORS and faster >= TIMES_FASTER else "missed"
    text = (
        f"Against the narrowed one ours makes {100 * fewer:.1f} % fewer errors (bar: "
        f"{100 * FEWER_ERRORS:.0f} %) at {faster:.1f} times its training throughput\n(bar: "
        f"{TIMES_FASTER:.0f} times; {without:.1f} times without the copies): {reached}.\n"
    )
    if narrow["per"] >= SAYS_NOTHING:
        text += (
            f"In its {narrow['epochs']:.1f} passes over the speech the narrowed one has not begun "
            "to say phonemes: this compares how fast the two learn\non this machine, not what they "
            "come to when they have the time.\n"
        )
    if ours["seconds"] > 60 * minutes:
        text += f"Ours took {ours['seconds'] / 60 - minutes:.1f} minutes more than its budget.\n"
    return text


def main() -> None:
    """Measures whoever is missing, prints the table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="dense", help="ours")
    parser.add_argument("--epochs", type=int, help="of our recipe's last stage")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, for theirs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=CONTESTANTS, help="measure one contestant")
    parser.add_argument("--quick", action="store_true", help="seconds, nothing kept")
    arguments = parser.parse_args()
    try:
        # Said before an hour is spent on ours.
        part("lobes.models.CRDNN", "CRDNN")
    except InputError as error:
        raise SystemExit(str(error)) from error
    asked = Asked(
        arguments.recipe, arguments.epochs, arguments.minutes, arguments.threads, arguments.quick
    )
    if arguments.quick:
        asked = Asked(arguments.recipe, arguments.epochs or 1, 0.1, arguments.threads, True)
    figures = {} if arguments.quick else results.read(NAME)
    context = multiprocessing.get_context("spawn")
    for contestant in [arguments.only] if arguments.only else list(CONTESTANTS):
        wanted = asked.to_json(contestant)
        if figures.get(contestant, {}).get("asked") == wanted:
            continue
        print(f"training: {CONTESTANTS[contestant]}", flush=True)
        with ProcessPoolExecutor(1, context, torch.set_num_threads, (asked.threads,)) as pool:
            found = pool.submit(measure, contestant, asked).result()
        figures[contestant] = found | {"asked": wanted}
        if not arguments.quick:
            results.keep(NAME, figures)
    heard = {(found["utterances"], found["phonemes"]) for found in figures.values()}
    assert len(heard) == 1, "figures are of different test utterances"
    print(section(figures), flush=True)
    if not arguments.quick:
        from benchmarks import page

        page.write()


if __name__ == "__main__":
    main()
