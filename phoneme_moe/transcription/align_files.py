"""Alignment of many recordings, each with the label file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from phoneme_moe.corpora.lexicon import Lexicon
from phoneme_moe.decoding.symbols import symbol_encoder
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.labels.recordings import label_files, read_phonemes, read_words
from phoneme_moe.transcription.align import (
    Alignment,
    align_labels,
    align_text,
    require_utterances,
)
from phoneme_moe.transcription.model_spec import Engine
from phoneme_moe.transcription.transcribe import Failure


def align_files(
    engine: Engine,
    files: Sequence[Path],
    lexicon: Lexicon | None = None,
    tier: str | None = None,
    symbols: str | Path | None = None,
    channel: int | None = None,
) -> Iterator[Alignment | Failure]:
    """Aligns recordings with the TextGrids, HTK labels or texts beside them, in the order given.

    Args:
        engine: Inference engine of a model that recognises utterances.
        files: Audio files.
        lexicon: Pronunciations, if the labels are words; by default they are phonemes.
        tier: Tier of TextGrids; by default one with a usual name.
        symbols: Notation or table of the phonemes, as in ``align_phonemes``.
        channel: As in ``audio.waveform.load_waveform``.

    Raises:
        InputError: The model or the symbols cannot be used; an unusable file gives a ``Failure``.
    """
    require_utterances(engine.spec)
    symbol_encoder(engine.spec.phonemes, symbols)
    return _align_each(engine, files, lexicon, tier, symbols, channel)


def _align_each(
    engine: Engine,
    files: Sequence[Path],
    lexicon: Lexicon | None,
    tier: str | None,
    symbols: str | Path | None,
    channel: int | None,
) -> Iterator[Alignment | Failure]:
    labels = label_files([file for file in files if file.parent.is_dir()])
    for file in files:
        try:
            beside = labels.get(file)
            if beside is None:
                file.stat()  # a recording that is not there is named as such
                expected = f"{file.stem}.TextGrid, .lab or .txt"
                raise InputError(f"{file}: found no labels beside it, expected {expected}")
            if lexicon is None:
                phonemes = read_phonemes(beside, tier)
                yield align_labels(engine, file, phonemes, channel, symbols)
            else:
                text = " ".join(read_words(beside, tier).symbols)
                try:
                    yield align_text(engine, file, text, lexicon, channel, symbols)
                except ArgumentError as error:
                    # The text was not an argument, but in the file.
                    where = f"{beside}: " if error.argument == "text" else f"{error.argument}: "
                    raise InputError(where + error.problem) from error
        except InputError as error:
            yield Failure(file, error)
        except OSError as error:
            yield Failure(file, InputError(f"{file}: {error.strerror or error}"))
