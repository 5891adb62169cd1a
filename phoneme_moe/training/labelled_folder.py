"""A folder of recordings with what was said in them."""

from __future__ import annotations

from pathlib import Path

import torch

from phoneme_moe.corpora.lexicon import read_pronunciations
from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import AUDIO_SUFFIXES, load_waveform
from phoneme_moe.model.recognizer import Recognizer

FEWEST = 3
"""Utterances that are needed: two to learn from, one held out."""


def labelled_examples(
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
