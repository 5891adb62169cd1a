"""Recordings of a new speaker with label files beside them, as training examples."""

from __future__ import annotations

from pathlib import Path

import torch

from phoneme_moe.audio.finding import audio_files
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.corpora.lexicon import Lexicon, read_lexicon
from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.labels.recordings import Labels, label_files, read_phonemes, read_words
from phoneme_moe.model.recognizer import Recognizer

MIN_UTTERANCES = 3
"""Fewest utterances of the new speaker: two for training, one held out."""


def labelled_examples(
    recognizer: Recognizer,
    folder: Path,
    speaker: str,
    lexicon: Path | None = None,
    tier: str | None = None,
) -> list[Example]:
    """Loads recordings with their transcripts as examples.

    Args:
        recognizer: The model for which features are computed.
        folder: Folder of recordings, each with a label file of its phonemes (or words) beside it
            (``labels.recordings``).
        speaker: Name of the speaker.
        lexicon: Pronunciation dictionary; the first pronunciation of each word is used.
        tier: Tier of TextGrids; by default one with a usual name.

    Raises:
        InputError: There are too few recordings, or labels are missing or have an unknown phoneme.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = audio_files(folder)
    if len(files) < MIN_UTTERANCES:
        raise InputError(
            f"{folder}: found {len(files)} recordings, expected at least {MIN_UTTERANCES}"
        )
    words = None if lexicon is None else read_lexicon(lexicon)
    labels = label_files(files)
    rate = recognizer.front_end.sample_rate
    examples = []
    for path in files:
        if path not in labels:
            raise InputError(
                f"{path}: found no labels beside it, expected {path.stem}.TextGrid, .lab or .txt"
            )
        file = labels[path]
        if words is None:
            phonemes = read_phonemes(file, tier).symbols
        else:
            phonemes = _pronounced(read_words(file, tier), words, lexicon)
        try:
            recognizer.phonemes.encode(phonemes)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        if not phonemes:
            raise InputError(f"{file}: found no phonemes")
        waveform = torch.tensor(load_waveform(path, rate))
        features, _ = recognizer.front_end(waveform[None], torch.tensor([len(waveform)]))
        phonemes = recognizer.phonemes.spell(phonemes)
        examples.append(Example(path.stem, speaker, phonemes, features[0]))
    return examples


def _pronounced(labels: Labels, words: Lexicon, lexicon: Path | None) -> tuple[str, ...]:
    """The phonemes of the words of a label file."""
    phonemes: list[str] = []
    for spoken in words.spoken_words(" ".join(labels.symbols)):
        if not spoken.pronunciations:
            raise InputError(f"{labels.file}: {spoken.word!r} is not in {lexicon}")
        phonemes += spoken.pronunciations[0]
    return tuple(phonemes)
