"""Examples: utterances or excised tokens of a prepared corpus, with their features.

Features are computed once, by the front end of the model: log mel features are kept in memory,
those of a pretrained encoder on disk. Augmentation is applied to features.

Legend: T frames, F features of a frame.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phoneme_moe.audio.waveform import Waveform, add_noise, change_sound_speed
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.alternatives import KEY
from phoneme_moe.corpora.cut_audio import cut_origin, load_cut
from phoneme_moe.data.embeddings import Embeddings
from phoneme_moe.data.example_features import (
    belongs_on_disk,
    compute_features,
    stored_features,
)
from phoneme_moe.data.sounds import Sound
from phoneme_moe.data.utterances import iter_split_cuts
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import InputError, suggest
from phoneme_moe.model.front_end import build_teacher
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Teacher

EXAMPLES_AT_ONCE = 5_000
"""Most examples in memory with what their features are computed from, if these are on disk."""

EXAMPLES_BESIDE_STREAM = 50
"""The same, if training utterances are streamed, which must not need more memory than these."""

Pronunciations = tuple[tuple[str, ...], ...]
"""Of a word, each a sequence of phonemes."""


@dataclass(frozen=True)
class Example:
    """An utterance, or a token excised from one, as model input.

    Attributes:
        utterance: Identifier of the utterance.
        speaker: Name of the speaker.
        phonemes: Reference phonemes, in the spelling of the model's phoneme set.
        features: Features, shape (frames, features): log mel, or hidden states of a pretrained
            encoder in float16, mapped from disk.
        spans: ``(phoneme, start, end)`` in seconds from the first frame, if times are known.
        expert_log_posteriors: Cached outputs of frozen experts, shape (frames, experts, outputs)
            (``training.cached_experts``).
        embedding: External embedding of the utterance or its speaker, shape (size,).
        pronunciations: For each word its pronunciations, in the spelling of the model's phonemes,
            the one in ``phonemes`` first; empty if no word has several.
        teacher: Hidden states of a pretrained encoder, or posteriors of a run, to learn from, shape
            (frames of 20 ms, size), float16 (``recipe.Teacher``).
        at_speeds: Features of the recording at other speeds (``recipe.Training.sound_speeds``).
    """

    utterance: str
    speaker: str
    phonemes: tuple[str, ...]
    features: Tensor
    spans: tuple[tuple[str, float, float], ...] = ()
    expert_log_posteriors: Tensor | None = None
    embedding: Tensor | None = None
    pronunciations: tuple[Pronunciations, ...] = ()
    teacher: Tensor | None = None
    at_speeds: tuple[Tensor, ...] = ()


def corpus_phonemes(recipe: Recipe, corpus: PreparedCorpus) -> tuple[str, ...]:
    """Returns the phoneme set of a recipe's model.

    Raises:
        InputError: A phoneme of the recipe is not in the corpus, or two of them are one phoneme.
    """
    spoken = PhonemeSet(corpus.phonemes, has_blank=False)
    for phoneme in recipe.task.phonemes or ():
        if phoneme not in spoken:
            raise InputError(
                f"task.phonemes: {corpus.name} has no phoneme {phoneme!r}"
                f"{suggest(phoneme, corpus.phonemes)}"
            )
    phonemes = spoken.spell(recipe.task.phonemes or corpus.phonemes)
    twice = [p for index, p in enumerate(phonemes) if p in phonemes[:index]]
    if twice:
        raise InputError(f"task.phonemes: found spellings of {twice[0]!r} more than once")
    return phonemes


def load_examples(
    recipe: Recipe,
    corpus: PreparedCorpus,
    split: str,
    recognizer: Recognizer,
    speakers: Sequence[str] | None = None,
    teacher: Teacher | None = None,
    sound_speeds: Sequence[float] = (),
) -> list[Example]:
    """Loads the examples of a split with their features, without those shorter than a frame.

    Args:
        recipe: Specifies the speakers, the noise and the excision of tokens.
        corpus: The prepared corpus.
        split: ``train``, ``dev`` or ``test``.
        recognizer: Computes the features.
        speakers: Speakers to load; all speakers of the corpus by default.
        teacher: A teacher; the examples get the hidden states of a pretrained encoder.
        sound_speeds: Speeds of the recordings for which features are computed besides.

    Raises:
        InputError: The split has no usable utterance, or an utterance lacks an embedding that the
            routers need.
    """
    if not any(phoneme in recognizer.phonemes for phoneme in corpus.phonemes):
        raise InputError(
            f"corpus {corpus.name}: none of its phonemes ({', '.join(corpus.phonemes[:8])} ...) is "
            f"a phoneme of the model ({', '.join(recognizer.phonemes.symbols[:8])} ...)"
        )
    speakers = corpus.speakers if speakers is None else speakers
    embeddings = find_embeddings(recipe, recognizer)
    on_disk = belongs_on_disk(corpus.seconds(split), recognizer)
    sounds = (
        pair
        for cut in iter_split_cuts(recipe, corpus, split, speakers)
        for pair in cut_examples(recipe, recognizer, cut, embeddings)
    )
    examples: list[Example] = []
    # What features on disk are computed from needs ten times the memory of an example.
    at_once = EXAMPLES_AT_ONCE if on_disk else None
    if recipe.training.stream is not None:
        at_once = EXAMPLES_BESIDE_STREAM
    while chosen := list(islice(sounds, at_once)):
        examples += _with_features(chosen, recognizer, on_disk, teacher, sound_speeds)
    if not examples:
        raise InputError(
            f"corpus {corpus.name}: the {split} split has no usable utterance of the speakers "
            f"{', '.join(sorted(set(speakers)))}"
        )
    return examples


def _with_features(
    sounds: Sequence[tuple[Example, Sound]],
    recognizer: Recognizer,
    on_disk: bool,
    teacher: Teacher | None,
    sound_speeds: Sequence[float],
) -> list[Example]:
    """Examples with features, and what a teacher says; without those shorter than a frame."""
    if teacher is not None and teacher.model is not None:
        states = stored_features([sound for _, sound in sounds], build_teacher(teacher))
        sounds = [
            (replace(example, teacher=state), sound)
            for (example, sound), state in zip(sounds, states, strict=True)
        ]
    for speed in sound_speeds:
        change = partial(change_sound_speed, speed=speed)
        played = [sound.changed(change, "speed", speed) for _, sound in sounds]
        faster = compute_features(played, recognizer, on_disk)
        sounds = [
            (replace(example, at_speeds=(*example.at_speeds, features)), sound)
            for (example, sound), features in zip(sounds, faster, strict=True)
        ]
    features = compute_features([sound for _, sound in sounds], recognizer, on_disk)
    return [
        replace(example, features=of_example)
        for (example, _), of_example in zip(sounds, features, strict=True)
        if len(of_example)
    ]


def load_waveforms(
    recipe: Recipe,
    corpus: PreparedCorpus,
    split: str,
    recognizer: Recognizer,
    utterances: Collection[str],
) -> dict[str, Waveform]:
    """Loads waveforms of utterances or tokens, including noise, as used for feature extraction.

    Args:
        recipe: Specifies the noise and the excision of tokens.
        corpus: The prepared corpus.
        split: ``train``, ``dev`` or ``test``.
        recognizer: Specifies the sample rate.
        utterances: Identifiers of examples; unknown ones are ignored.

    Returns:
        Waveforms at the sample rate of the model, by identifier.
    """
    recordings = {_recording_of(name) for name in utterances} | set(utterances)
    sounds: dict[str, Waveform] = {}
    for cut in corpus.iter_cuts(split):
        if cut.id in recordings:
            for example, sound in cut_examples(recipe, recognizer, cut):
                if example.utterance in utterances:
                    sounds[example.utterance] = sound.waveform
    return sounds


def _recording_of(token: str) -> str:
    """Identifier of the utterance that a token was excised from."""
    return token.rpartition("#")[0] or token


NO_FEATURES = torch.empty(0)
"""In place of features that are not there yet."""


@cache
def _shared(pronunciations: Pronunciations) -> Pronunciations:
    """The pronunciations of a word, once in memory however often it occurs."""
    return pronunciations


def find_embeddings(recipe: Recipe, recognizer: Recognizer) -> Embeddings | None:
    """The embeddings of a recipe, if the routers need them.

    Raises:
        InputError: The file cannot be read.
    """
    size, file = recognizer.embedding_size, recipe.corpus.embeddings
    return None if size is None or file is None else Embeddings(file, size)


def cut_examples(
    recipe: Recipe, recognizer: Recognizer, cut: Any, embeddings: Embeddings | None = None
) -> list[tuple[Example, Sound]]:
    """The utterance of a cut, or the tokens in it, without features, and their sounds.

    Raises:
        InputError: An embedding is missing.
    """
    supervision = cut.supervisions[0]
    speaker = supervision.speaker
    spell = recognizer.phonemes.spell
    spans = [
        (*spell([item.symbol]), item.start, item.start + item.duration)
        for item in (supervision.alignment or {}).get("phoneme", ())
    ]
    rate = recognizer.front_end.sample_rate
    # Tokens near the start or end of the recording extend into the added noise.
    margin = recognizer.token_samples if recipe.task.kind == "classify" else 0
    sound = _cut_sound(recipe, cut, rate, margin)
    if recipe.task.kind == "recognize":
        phonemes = spell(supervision.custom["phonemes"])
        words = supervision.custom.get(KEY) or ()
        pronunciations = tuple(_shared(tuple(spell(p) for p in word)) for word in words)
        example = Example(
            cut.id,
            speaker,
            phonemes,
            NO_FEATURES,
            tuple(spans),
            pronunciations=pronunciations,
            embedding=None if embeddings is None else embeddings.lookup([cut.id, speaker]),
        )
        return [(example, sound)]
    tokens = []
    for number, (symbol, start, end) in enumerate(spans):
        if symbol not in recognizer.phonemes:
            continue
        first = margin + round((start - recipe.task.onset_ms / 1000) * rate)
        example = Example(
            f"{cut.id}#{number}",
            speaker,
            (symbol,),
            NO_FEATURES,
            ((symbol, recipe.task.onset_ms / 1000, recipe.task.onset_ms / 1000 + end - start),),
        )
        excised = itemgetter(slice(first, first + recognizer.token_samples))
        tokens.append((example, sound.changed(excised, "token", first, recognizer.token_samples)))
    return tokens


def _cut_sound(recipe: Recipe, cut: Any, rate: int, margin: int) -> Sound:
    """The sound of a cut with the noise of the recipe, and more samples before and after."""
    snr_db, seed = recipe.corpus.snr_db, recipe.corpus.noise_seed

    def decode() -> Waveform:
        waveform = load_cut(cut, rate)
        if snr_db is not None:
            return add_noise(waveform, snr_db, cut.id, seed, margin)
        return np.pad(waveform, margin) if margin else waveform

    origin = cut_origin(cut, rate)
    if origin is not None:
        noise = () if snr_db is None else (snr_db, cut.id, seed)
        origin = (*origin, margin, *noise)
    return Sound(decode, origin)
