"""From a prepared corpus to batches of features.

Features are computed once, by the model's own ``LogMel``, and kept: there is nothing random between
the sound and the network, so computing them again every epoch would be work done twice.

Legend: B batch, T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.splits import fewer_of_each_speaker
from phoneme_moe.embeddings import Embeddings
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.recipe import Recipe
from phoneme_moe.recognizer import Recognizer
from phoneme_moe.speech.audio import Waveform, add_noise, resample


@dataclass(frozen=True)
class Example:
    """What the model is shown: an utterance, or a token cut out of one.

    Attributes:
        utterance: Identifier of the utterance.
        speaker: Who speaks.
        phonemes: What is said.
        features: Log mel features, shape (frames, features).
        spans: ``(phoneme, start, end)`` in seconds from the first frame, where times are known.
        expert_log_posteriors: What every expert says of it, shape (frames, experts, outputs), where
            that is fixed (``training.frozen``).
        embedding: A vector of the utterance or its speaker from outside, shape (size,).
    """

    utterance: str
    speaker: str
    phonemes: tuple[str, ...]
    features: Tensor
    spans: tuple[tuple[str, float, float], ...] = ()
    expert_log_posteriors: Tensor | None = None
    embedding: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Examples side by side.

    Attributes:
        features: Shape (batch, frames, features), zero where masked.
        mask: Real frames, shape (batch, frames).
        speaker: Index of the expert that bears the speaker's name, -1 where none does; (batch,).
        targets: Output index of every phoneme, shape (batch, longest), zero beyond its length.
        target_lengths: Phonemes of each, shape (batch,).
        examples: The examples themselves.
        expert_log_posteriors: What every expert says, where that is fixed; shape (batch, frames,
            experts, outputs), arbitrary where masked.
        embedding: Of each utterance from outside, shape (batch, size), where there is one.
    """

    features: Tensor
    mask: Tensor
    speaker: Tensor
    targets: Tensor
    target_lengths: Tensor
    examples: tuple[Example, ...]
    expert_log_posteriors: Tensor | None = None
    embedding: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        known, embedding = self.expert_log_posteriors, self.embedding
        return Batch(
            self.features.to(device),
            self.mask.to(device),
            self.speaker.to(device),
            self.targets.to(device),
            self.target_lengths.to(device),
            self.examples,
            None if known is None else known.to(device),
            None if embedding is None else embedding.to(device),
        )


def corpus_speakers(recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Speakers that a recipe trains on, in the corpus's order.

    Raises:
        InputError: The recipe names a speaker that the corpus does not have.
    """
    wanted = recipe.corpus.speakers
    for name in (*(wanted or ()), *recipe.corpus.held_out_speakers):
        if name not in corpus.speakers:
            raise InputError(
                f"corpus.speakers: {corpus.name} has no speaker {name!r}"
                f"{suggest(name, corpus.speakers)}"
            )
    chosen = corpus.speakers if wanted is None else wanted
    speakers = tuple(s for s in chosen if s not in recipe.corpus.held_out_speakers)
    if not speakers:
        raise InputError("corpus.held_out_speakers: no speaker is left to train on")
    return speakers


def corpus_phonemes(recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Phonemes that a recipe's model tells apart.

    Raises:
        InputError: The recipe names a phoneme that the corpus does not have.
    """
    for phoneme in recipe.task.phonemes or ():
        if phoneme not in corpus.phonemes:
            raise InputError(
                f"task.phonemes: {corpus.name} has no phoneme {phoneme!r}"
                f"{suggest(phoneme, corpus.phonemes)}"
            )
    return recipe.task.phonemes or corpus.phonemes


def load_examples(
    recipe: Recipe,
    corpus: PreparedCorpus,
    split: str,
    recognizer: Recognizer,
    speakers: Sequence[str] | None = None,
) -> list[Example]:
    """Everything of a split that the recipe asks for, as features.

    Args:
        recipe: Says which speakers, how much noise, and how tokens are cut.
        corpus: The prepared corpus.
        split: ``train``, ``dev`` or ``test``.
        recognizer: Whose features are computed.
        speakers: Whose utterances; all of the corpus when left out.

    Raises:
        InputError: Nothing is left of the split, or an utterance has no embedding where routers see
            one.
    """
    if not set(corpus.phonemes) & set(recognizer.phonemes.symbols):
        raise InputError(
            f"corpus {corpus.name}: none of its phonemes ({', '.join(corpus.phonemes[:8])} ...) is "
            f"a phoneme of the model ({', '.join(recognizer.phonemes.symbols[:8])} ...)"
        )
    cuts = corpus.cuts(split)
    wanted = set(speakers if speakers is not None else corpus.speakers)
    chosen = [cut for cut in cuts if cut.supervisions[0].speaker in wanted]
    if recipe.corpus.max_utterances:
        chosen = fewer_of_each_speaker(chosen, recipe.corpus.max_utterances)
    size, file = recognizer.embedding_size, recipe.corpus.embeddings
    embeddings = None if size is None or file is None else Embeddings(file, size)
    sounds: list[tuple[Example, Waveform]] = []
    for cut in chosen:
        sounds.extend(_cut_examples(recipe, recognizer, cut, cut.supervisions[0]))
    if not sounds:
        raise InputError(
            f"corpus {corpus.name}: the {split} split has nothing of the speakers "
            f"{', '.join(sorted(wanted))} that the recipe can use"
        )
    if embeddings is not None:
        sounds = [
            (replace(example, embedding=embeddings.of([example.utterance, example.speaker])), sound)
            for example, sound in sounds
        ]
    return _with_features(sounds, recognizer)


def _cut_examples(
    recipe: Recipe, recognizer: Recognizer, cut: Any, supervision: Any
) -> list[tuple[Example, Waveform]]:
    """An utterance, or the tokens in it."""
    rate = recognizer.log_mel.sample_rate
    waveform = resample(cut.load_audio()[0].astype(np.float32), cut.sampling_rate, rate)
    spans = [
        (item.symbol, item.start, item.start + item.duration)
        for item in (supervision.alignment or {}).get("phoneme", ())
    ]
    # A token near the start or the end reaches beyond the recording: into its noise.
    margin = recognizer.token_samples if recipe.task.kind == "classify" else 0
    if recipe.corpus.snr_db is not None:
        waveform = add_noise(
            waveform, recipe.corpus.snr_db, cut.id, recipe.corpus.noise_seed, margin
        )
    elif margin:
        waveform = np.pad(waveform, margin)
    if recipe.task.kind == "recognize":
        phonemes = tuple(supervision.custom["phonemes"])
        nothing = torch.empty(0)
        return [(Example(cut.id, supervision.speaker, phonemes, nothing, tuple(spans)), waveform)]
    tokens = []
    for number, (symbol, start, end) in enumerate(spans):
        if symbol not in recognizer.phonemes:
            continue
        first = margin + round((start - recipe.task.onset_ms / 1000) * rate)
        example = Example(
            f"{cut.id}#{number}",
            supervision.speaker,
            (symbol,),
            torch.empty(0),
            ((symbol, recipe.task.onset_ms / 1000, recipe.task.onset_ms / 1000 + end - start),),
        )
        tokens.append((example, waveform[first : first + recognizer.token_samples]))
    return tokens


@torch.no_grad()
def _with_features(
    sounds: list[tuple[Example, Waveform]], recognizer: Recognizer, batch_size: int = 256
) -> list[Example]:
    order = sorted(range(len(sounds)), key=lambda i: len(sounds[i][1]))
    examples: list[Example] = [example for example, _ in sounds]
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        num_samples = torch.tensor([len(sounds[i][1]) for i in chosen])
        waveforms = torch.zeros(len(chosen), int(num_samples.max()))
        for row, i in enumerate(chosen):
            waveforms[row, : len(sounds[i][1])] = torch.from_numpy(sounds[i][1])
        device = recognizer.device
        features, mask = recognizer.log_mel(waveforms.to(device), num_samples.to(device))
        lengths = mask.sum(dim=1).tolist()
        features = features.cpu()
        for row, i in enumerate(chosen):
            old = examples[i]
            # Cloned: a view would keep the whole padded batch alive.
            own = features[row, : lengths[row]].clone()
            examples[i] = replace(old, features=own)
    return examples


def collate(examples: Sequence[Example], recognizer: Recognizer, experts: dict[str, int]) -> Batch:
    """Puts examples side by side.

    Args:
        examples: At least one.
        recognizer: Whose phoneme set encodes the targets.
        experts: Index of each expert by name.
    """
    lengths = torch.tensor([len(e.features) for e in examples])
    posteriors = [e.expert_log_posteriors for e in examples if e.expert_log_posteriors is not None]
    embeddings = [e.embedding for e in examples if e.embedding is not None]
    features = torch.nn.utils.rnn.pad_sequence([e.features for e in examples], batch_first=True)
    # Another corpus may have phonemes that the model does not know; they are no targets.
    known = [[p for p in e.phonemes if p in recognizer.phonemes] for e in examples]
    targets = [torch.tensor(recognizer.phonemes.encode(own), dtype=torch.long) for own in known]
    return Batch(
        features=features,
        mask=torch.arange(features.shape[1]) < lengths[:, None],
        speaker=torch.tensor([experts.get(e.speaker, -1) for e in examples]),
        targets=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        target_lengths=torch.tensor([len(t) for t in targets]),
        examples=tuple(examples),
        expert_log_posteriors=(
            torch.nn.utils.rnn.pad_sequence(posteriors, batch_first=True) if posteriors else None
        ),
        embedding=torch.stack(embeddings) if embeddings else None,
    )


class BalancedBatches(Sampler[list[int]]):
    """Batches of similar length in which every speaker has equally many utterances.

    Balanced batches leave no empty slot when each speaker has an expert of his own
    (``mixture.dispatch``), and similar lengths leave little padding. The order follows from the
    seed and the epoch alone, so a resumed run sees the same batches as an uninterrupted one.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self.lengths = np.array([len(e.features) for e in examples])
        speakers = sorted({e.speaker for e in examples})
        self.by_speaker = [
            np.flatnonzero([e.speaker == speaker for e in examples]) for speaker in speakers
        ]
        if len(speakers) > batch_size // 2:
            # More speakers than fit side by side: no experts of their own, balance is moot.
            self.by_speaker = [np.arange(len(examples))]
        self.per_speaker = max(1, batch_size // len(self.by_speaker))
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of this epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(-(-len(own) // self.per_speaker) for own in self.by_speaker)

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches: list[list[int]] = [[] for _ in range(len(self))]
        for own in self.by_speaker:
            # Nearly sorted: which utterances meet still changes from epoch to epoch.
            jitter = generator.uniform(0.85, 1.15, size=len(own))
            ordered = own[np.argsort(self.lengths[own] * jitter, kind="stable")]
            for batch, chosen in zip(batches, np.array_split(ordered, len(batches)), strict=True):
                batch.extend(chosen.tolist())
        yield from (batches[i] for i in generator.permutation(len(batches)) if batches[i])
