"""The symbols of transcripts: other notations, and mappings onto smaller sets ("folds").

A fold is a text file with two columns separated by a tab; ``#`` and a space start a comment.
ARPABET is looked up as given, then without stress digit, then in capitals (TIMIT is lower case).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.resources import files

from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.notation.convert import NOTATIONS, arpabet_entry, convert_phoneme, notation_of
from phoneme_moe.notation.symbol_table import read_symbol_table

_PREFIX = "fold_"


def symbol_map(
    phonemes: Sequence[str], symbols: str | None = None, fold: str | None = None
) -> dict[str, str]:
    """Maps each phoneme of a set to its symbol: folded first, then converted.

    Folds are of ARPABET. The notation that is converted is that of the whole set
    (``notation.convert``).

    Args:
        phonemes: The phoneme set.
        symbols: One of ``NOTATIONS``; no conversion by default.
        fold: Name of a fold (``fold_names``); none by default.

    Raises:
        ArgumentError: The fold or notation is unknown.
        InputError: A phoneme is in no table.
    """
    if fold is not None and fold not in fold_names():
        raise ArgumentError("fold", f"found {fold!r}{suggest(fold, fold_names())}")
    if symbols is not None and symbols not in NOTATIONS:
        raise ArgumentError("symbols", f"found {symbols!r}{suggest(symbols, NOTATIONS)}")
    names = {phoneme: phoneme for phoneme in phonemes}
    source = notation_of(phonemes)
    if fold is not None:
        names = {phoneme: _folded(phoneme, fold) for phoneme in phonemes}
        source = "arpabet"
    if symbols is not None:
        names = {name: convert_phoneme(symbol, source, symbols) for name, symbol in names.items()}
    return names


@functools.cache
def fold_names() -> tuple[str, ...]:
    """Names of the folds."""
    names = (entry.name for entry in files("phoneme_moe.decoding").joinpath("tables").iterdir())
    return tuple(
        sorted(
            name.removeprefix(_PREFIX).removesuffix(".tsv")
            for name in names
            if name.startswith(_PREFIX)
        )
    )


def _folded(phoneme: str, fold: str) -> str:
    table = read_symbol_table("phoneme_moe.decoding", _PREFIX + fold)
    entry = arpabet_entry(phoneme, table)
    if entry is None:
        raise InputError(
            f"phoneme {phoneme!r} is not in the table {_PREFIX + fold}{suggest(phoneme, table)}"
        )
    return table[entry]
