"""Phoneme notations: ARPABET, IPA, and mappings onto smaller sets ("folds").

Tables are text files with two columns separated by a tab; ``#`` and a space start a comment.
ARPABET is looked up as given, then without stress digit, then in capitals (TIMIT is lower case).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from importlib.resources import files

from phoneme_moe.errors import ArgumentError, InputError, suggest

SYMBOLS = ("arpabet", "ipa")
"""Phoneme notations."""

_STRESSED = re.compile(r"([A-Z]+)[012]")
_IPA = "arpabet_ipa"
_PREFIX = "fold_"


def symbol_map(
    phonemes: Sequence[str], symbols: str | None = None, fold: str | None = None
) -> dict[str, str]:
    """Maps each phoneme of a set to its symbol: folded first, then converted.

    In IPA, ``AH`` and ``ER`` with stress 0 are ə and ɚ, with other or no stress ʌ and ɝ. Conversion
    to ARPABET has no stress, so ə becomes ``AH``.

    Args:
        phonemes: The phoneme set.
        symbols: ``arpabet`` or ``ipa``; no conversion by default.
        fold: Name of a fold (``fold_names``); none by default.

    Raises:
        ArgumentError: The fold or notation is unknown.
        InputError: A phoneme is in no table.
    """
    if fold is not None and fold not in fold_names():
        raise ArgumentError("fold", f"found {fold!r}{suggest(fold, fold_names())}")
    if symbols is not None and symbols not in SYMBOLS:
        raise ArgumentError("symbols", f"found {symbols!r}{suggest(symbols, SYMBOLS)}")
    names = {phoneme: phoneme for phoneme in phonemes}
    if fold is not None:
        table = _PREFIX + fold
        names = {phoneme: _table(table)[_entry(phoneme, table)] for phoneme in phonemes}
    if symbols is not None:
        names = {phoneme: to_symbols(symbol, symbols) for phoneme, symbol in names.items()}
    return names


def to_symbols(phoneme: str, symbols: str) -> str:
    """Converts one phoneme to ARPABET or IPA.

    Raises:
        InputError: The phoneme is neither ARPABET nor IPA of General American.
    """
    ipa = unicodedata.normalize("NFC", phoneme)
    arpabet = _ipa_to_arpabet().get(ipa) or _entry(phoneme, _IPA)
    return _table(_IPA)[arpabet] if symbols == "ipa" else _without_stress(arpabet)


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


def _entry(symbol: str, table: str) -> str:
    """Key of a symbol in a table."""
    known = _table(table)
    for candidate in (symbol, _without_stress(symbol), symbol.upper()):
        if candidate in known:
            return candidate
    raise InputError(f"phoneme {symbol!r} is not in the table {table}{suggest(symbol, known)}")


def _without_stress(symbol: str) -> str:
    match = _STRESSED.fullmatch(symbol)
    return match[1] if match else symbol


@functools.cache
def _table(name: str) -> dict[str, str]:
    text = files("phoneme_moe.decoding").joinpath("tables", f"{name}.tsv").read_text("utf-8")
    return dict(line.split("\t") for line in text.splitlines() if not line.startswith("# "))


@functools.cache
def _ipa_to_arpabet() -> dict[str, str]:
    # Reversed, so that the first of several rows with one IPA symbol is used.
    return {ipa: arpabet for arpabet, ipa in reversed(_table(_IPA).items())}
