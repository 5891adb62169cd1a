"""A few utterances of a new speaker, and a run that knows them.

Two ways, both with the old experts frozen. The gate alone learns whom to ask for the new voice, as
the speaker MHT of 1990 was recognised through the experts of others (Hampshire & Waibel 1990); or
the speaker gets an expert too: a copy of the one that serves best, trained on the utterances, and
a gate that learns to ask it. The gate hears old speakers beside the new one, so that it does not
forget them.

Of every three utterances one is held out: what the report says is measured on these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phoneme_moe.corpora import load_corpus
from phoneme_moe.corpora.lexicon import read_pronunciations
from phoneme_moe.errors import InputError
from phoneme_moe.files import write_json
from phoneme_moe.inference import read_phonemes, recognize_examples
from phoneme_moe.recipe import Model
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.run import Run, load_run, save_decoding, save_model, save_recipe
from phoneme_moe.speech.audio import AUDIO_SUFFIXES, load_waveform
from phoneme_moe.speech.augmentation import Augment
from phoneme_moe.speech.scoring import UtteranceScore, change, score_utterance, total_score
from phoneme_moe.training.batches import collate
from phoneme_moe.training.data import Example, corpus_speakers, load_examples
from phoneme_moe.training.minimize import Schedule, fit
from phoneme_moe.training.objectives import phoneme_loss

Way = Literal["gate", "expert"]

FEWEST = 3
"""Utterances that are needed: two to learn from, one held out."""

HELD_BACK = 4.0
"""Taken off the gate's score of a new expert at first: it has a fiftieth of its model's weight."""

EXPERT_STEPS, GATE_STEPS = 300, 400
"""Steps of a new expert and of the gate, however many utterances there are."""

SIDE_BY_SIDE = 12
"""Utterances of the new speaker in a step, and as many of old ones where the gate learns."""

REPLAYED = 400
"""Old utterances that are heard again at most."""


@dataclass(frozen=True)
class Adaptation:
    """What came of it.

    Attributes:
        run: The adapted run.
        way: ``gate`` or ``expert``.
        speaker: Who is new.
        learned: Utterances learned from.
        held_out: Utterances held out.
        before: Error rate on these of the run as it was, a fraction.
        after: The same of the adapted run.
        interval: 95 % interval of the change, paired bootstrap over utterances.
        old_before: Error rate of the old speakers on test before; None where their corpus is not
            prepared here.
        old_after: And after.
        blend: Mean weight of each expert on the held-out utterances, by name.
    """

    run: Run
    way: Way
    speaker: str
    learned: int
    held_out: int
    before: float
    after: float
    interval: tuple[float, float]
    old_before: float | None
    old_after: float | None
    blend: Mapping[str, float]

    @property
    def pays(self) -> bool:
        """Whether the new speaker is recognised better than before."""
        return self.after < self.before

    def to_json(self) -> dict[str, Any]:
        """Plain data, for ``adaptation.json``."""
        return {
            "version": 1,
            "way": self.way,
            "speaker": self.speaker,
            "learned": self.learned,
            "held_out": self.held_out,
            "before": self.before,
            "after": self.after,
            "interval": list(self.interval),
            "old_before": self.old_before,
            "old_after": self.old_after,
            "blend": dict(self.blend),
            "pays": self.pays,
        }


def adapt(
    run: Run, speaker: str, folder: Path, out: Path, way: Way, lexicon: Path | None = None
) -> Adaptation:
    """Adapts a run to a speaker and leaves a new run folder.

    Args:
        run: A mixture behind a gate that recognises utterances.
        speaker: Name of the new speaker; of his expert too, where he gets one.
        folder: Recordings, each beside a text file of the same name with its phonemes (or words).
        out: The new run folder; empty or missing.
        way: ``gate`` or ``expert``.
        lexicon: Pronunciations, where the text files have words.

    Raises:
        InputError: The run has no gate that learns, the folder has too little, or ``out`` is taken.
    """
    _check(run, speaker, out)
    recognizer = run.recognizer.cpu()
    examples = spoken_examples(recognizer, folder, speaker, lexicon)
    held_out = examples[2::3]
    learned = [example for number, example in enumerate(examples) if number % 3 != 2]
    old_train, old_test = _old_examples(run)
    before, _ = _scores(recognizer, held_out)
    old_before, _ = _scores(recognizer, old_test)
    adapted = recognizer
    if way == "expert":
        adapted = _with_new_expert(run, speaker, learned)
    else:
        # A copy: the run that was given stays what it is.
        adapted = load_run(run.folder).recognizer
    _teach_gate(adapted, learned, old_train, run.recipe.seed)
    after, blend = _scores(adapted, held_out)
    old_after, _ = _scores(adapted, old_test)
    save_recipe(out, run.recipe)
    save_model(out, run.recipe, adapted)
    save_decoding(out, run.decoding)
    found = change(before, after)
    adaptation = Adaptation(
        load_run(out),
        way,
        speaker,
        len(learned),
        len(held_out),
        total_score(before).error_rate,
        total_score(after).error_rate,
        found.interval,
        total_score(old_before).error_rate if old_test else None,
        total_score(old_after).error_rate if old_test else None,
        blend,
    )
    write_json(out / "adaptation.json", adaptation.to_json())
    return adaptation


def _check(run: Run, speaker: str, out: Path) -> None:
    model = run.recipe.model
    recognizer = run.recognizer
    if recognizer.task.kind != "recognize" or recognizer.gate is None or not model.gate:
        raise InputError(
            f"{run.folder}: expected a run that recognises utterances by experts behind a gate "
            "(six_speakers_digits); a sparse one can be given more experts with grow"
        )
    if not model.gate.learns or model.functions or model.expert.kind == "function":
        raise InputError(f"{run.folder}: its gate or its experts are functions, which do not learn")
    if speaker in recognizer.expert_names:
        raise InputError(f"--speaker: {run.folder} has an expert {speaker!r} already")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: found something there; expected an empty or new folder")


def spoken_examples(
    recognizer: Recognizer, folder: Path, speaker: str, lexicon: Path | None = None
) -> list[Example]:
    """Recordings with what was said in them.

    Args:
        recognizer: Whose features are computed.
        folder: Recordings, each beside ``NAME.txt`` with its phonemes, or words with a lexicon.
        speaker: Who speaks.
        lexicon: Pronunciations; the first of each word counts.

    Raises:
        InputError: There are too few, a text is missing, or has what the model does not know.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if len(files) < FEWEST:
        raise InputError(f"{folder}: found {len(files)} recordings, expected at least {FEWEST}")
    words = None if lexicon is None else read_pronunciations(lexicon)
    rate = recognizer.log_mel.sample_rate
    examples = []
    for path in files:
        text = path.with_suffix(".txt")
        if not text.is_file():
            raise InputError(f"{text}: no such file; expected the phonemes of {path.name}")
        said = text.read_text(encoding="utf-8").split()
        if words is not None:
            for word in said:
                if word.lower() not in words:
                    raise InputError(f"{text}: {word!r} is not in {lexicon}")
            said = [p for word in said for p in words[word.lower()][0]]
        try:
            recognizer.phonemes.encode(said)
        except InputError as error:
            raise InputError(f"{text}: {error}") from error
        if not said:
            raise InputError(f"{text}: found no phonemes")
        waveform = torch.from_numpy(load_waveform(path, rate))
        features, _ = recognizer.log_mel(waveform[None], torch.tensor([len(waveform)]))
        examples.append(Example(path.stem, speaker, tuple(said), features[0]))
    return examples


def _old_examples(run: Run) -> tuple[list[Example], list[Example]]:
    """Training and test utterances of the old speakers; none where their corpus is not here."""
    try:
        corpus = load_corpus(run.recipe.corpus.name)
    except InputError:
        return [], []
    speakers = corpus_speakers(run.recipe, corpus)
    train = load_examples(run.recipe, corpus, "train", run.recognizer, speakers)
    test = load_examples(run.recipe, corpus, "test", run.recognizer, speakers)
    step = max(1, len(train) // REPLAYED)
    return train[::step], test


def _scores(
    recognizer: Recognizer, examples: Sequence[Example]
) -> tuple[list[UtteranceScore], dict[str, float]]:
    """Errors of each utterance in order, and the mean weight of each expert."""
    if not examples:
        return [], {}
    found: dict[str, UtteranceScore] = {}
    total, frames = torch.zeros(len(recognizer.expert_names)), 0
    for batch, said in recognize_examples(recognizer, examples):
        mask = said.routing.mask
        read = read_phonemes(recognizer, said.log_posteriors, mask.sum(dim=1).tolist())
        for example, hypothesis in zip(batch.examples, read, strict=True):
            found[example.utterance] = score_utterance(example.phonemes, hypothesis)
        total += said.routing.weights[mask].sum(dim=0)
        frames += int(mask.sum())
    blend = dict(zip(recognizer.expert_names, (total / frames).tolist(), strict=True))
    return [found[example.utterance] for example in examples], blend


def _with_new_expert(run: Run, speaker: str, learned: Sequence[Example]) -> Recognizer:
    """The recogniser with an expert more, trained, which the gate hardly asks yet."""
    old = run.recognizer
    with torch.no_grad():
        errors = [
            sum(score.errors for score in _scores_of_expert(old, learned, index))
            for index in range(len(old.expert_names))
        ]
    nearest = errors.index(min(errors))
    sections = run.recipe.features, run.recipe.task
    lone = Recognizer(
        *sections, Model(expert=run.recipe.model.expert), old.phonemes.symbols, (speaker,)
    )
    of_all = dict(old.named_parameters())
    with torch.no_grad():
        for name, own in lone.named_parameters():
            own.copy_(of_all[name][nearest : nearest + 1])
    _teach_expert(lone, learned, run)
    new = Recognizer(
        *sections, run.recipe.model, old.phonemes.symbols, (*old.expert_names, speaker)
    )
    of_lone = dict(lone.named_parameters())
    with torch.no_grad():
        for name, own in new.named_parameters():
            before = of_all[name]
            if name in of_lone:
                own.copy_(torch.cat([before, of_lone[name]]))
            elif own.shape == before.shape:
                own.copy_(before)
            else:  # the gate's last layer: a column for each expert
                own.copy_(torch.cat([before, before[..., nearest : nearest + 1]], dim=-1))
                if name.endswith("bias"):
                    own[..., -1] -= HELD_BACK
    new.timing = old.timing
    return new.eval()


def _scores_of_expert(
    recognizer: Recognizer, examples: Sequence[Example], expert: int
) -> list[UtteranceScore]:
    found = []
    for batch, said in recognize_examples(recognizer, examples, expert):
        read = read_phonemes(recognizer, said.log_posteriors, said.routing.mask.sum(dim=1).tolist())
        found += [
            score_utterance(example.phonemes, hypothesis)
            for example, hypothesis in zip(batch.examples, read, strict=True)
        ]
    return found


def _teach_expert(lone: Recognizer, learned: Sequence[Example], run: Run) -> None:
    """Trains the new expert on its speaker's utterances."""
    # As experts of the recipe are trained, with the changes they are trained with.
    stage = next((s for s in run.recipe.training.stages if s.route == "speaker"), None)
    stage = stage or run.recipe.training.stages[-1]
    changes = run.recipe.training.augmentation_of(stage)
    augment = Augment(
        **changes.model_dump(exclude={"time_mask_ms"}),
        time_mask_frames=round(changes.time_mask_ms / 1000 / lone.log_mel.frame_seconds),
    )
    lone.train()

    def loss(chosen: Tensor) -> Tensor:
        batch = collate([learned[i] for i in chosen[0].tolist()], lone, {})
        features, mask = augment(batch.features, batch.mask)
        said = lone(features, mask)
        return phoneme_loss(said, replace(batch, features=features, mask=mask), "recognize")

    _fit(lone.parameters(), len(learned), loss, EXPERT_STEPS, 3e-4, run.recipe.seed)
    lone.eval()


def _teach_gate(
    recognizer: Recognizer, learned: Sequence[Example], old: Sequence[Example], seed: int
) -> None:
    """Trains the gate on the new speaker, beside old ones; experts stay as they are."""
    assert recognizer.gate is not None
    known = [replace(e, expert_log_posteriors=_of_experts(recognizer, e)) for e in learned]
    again = [replace(e, expert_log_posteriors=_of_experts(recognizer, e)) for e in old]
    generator = torch.Generator().manual_seed(seed)

    def loss(chosen: Tensor) -> Tensor:
        own = [known[i] for i in chosen[0].tolist()]
        if again:
            drawn = torch.randint(len(again), (len(own),), generator=generator).tolist()
            own += [again[i] for i in drawn]
        batch = collate(own, recognizer, {})
        said = recognizer(
            batch.features, batch.mask, expert_log_posteriors=batch.expert_log_posteriors
        )
        return phoneme_loss(said, batch, "recognize", "utterance")

    recognizer.train()
    for parameter in recognizer.parameters():
        parameter.requires_grad_(False)
    for parameter in recognizer.gate.parameters():
        parameter.requires_grad_()
    _fit(recognizer.gate.parameters(), len(known), loss, GATE_STEPS, 2e-3, seed)
    recognizer.eval()


@torch.no_grad()
def _of_experts(recognizer: Recognizer, example: Example) -> Tensor:
    """What every expert says, shape (frames, experts, outputs)."""
    mask = torch.ones(1, len(example.features), dtype=torch.bool)
    said: Tensor | None = recognizer(example.features[None], mask).expert_log_posteriors
    assert said is not None
    return said[0]


def _fit(
    parameters: Iterable[nn.Parameter],
    count: int,
    loss: Callable[[Tensor], Tensor],
    steps: int,
    learning_rate: float,
    seed: int,
) -> None:
    batch = min(SIDE_BY_SIDE, count)
    epochs = max(1, round(steps / -(-count // batch)))
    schedule = Schedule(epochs, learning_rate, batch, weight_decay=0.0)
    fit(parameters, [torch.arange(count)], loss, schedule, seed)
