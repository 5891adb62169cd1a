"""The symbols of transcripts: other notations, tables of the user, and smaller sets ("folds").

A fold is a text file with two columns separated by a tab; ``#`` and a space start a comment.
ARPABET is looked up as given, then without stress digit, then in capitals (TIMIT is lower case).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.errors import ArgumentError, InputError, suggest
from phoneme_moe.files.text_files import read_text, split_lines
from phoneme_moe.notation.convert import NOTATIONS, arpabet_entry, convert_phoneme, notation_of
from phoneme_moe.notation.normal_form import normalize_phoneme
from phoneme_moe.notation.symbol_table import read_symbol_table

_PREFIX = "fold_"


def symbol_map(
    phonemes: Sequence[str], symbols: str | Path | None = None, fold: str | None = None
) -> dict[str, str]:
    """Maps each phoneme of a set to its symbol: folded first, then converted.

    Folds are of ARPABET. The notation that is converted is that of the whole set
    (``notation.convert``).

    Args:
        phonemes: The phoneme set.
        symbols: One of ``NOTATIONS``, or the file of a table (``read_user_table``); no conversion
            by default.
        fold: Name of a fold (``fold_names``); none by default.

    Raises:
        ArgumentError: The fold or notation is unknown, or does not have a phoneme.
        InputError: A phoneme is in no table, or the table cannot be used.
    """
    if fold is not None and fold not in fold_names():
        raise ArgumentError("fold", f"found {fold!r}{suggest(fold, fold_names())}")
    table = None if symbols is None or symbols in NOTATIONS else _user_table(symbols)
    names = {phoneme: phoneme for phoneme in phonemes}
    source = notation_of(phonemes)
    if fold is not None:
        names = {phoneme: _folded(phoneme, fold) for phoneme in phonemes}
        source = "arpabet"
    if table is not None:
        missing = sorted({symbol for symbol in names.values() if symbol not in table})
        if missing:
            raise InputError(
                f"{symbols}: no symbol for {' '.join(missing)}, which the run recognises"
            )
        return {name: table[symbol] for name, symbol in names.items()}
    if symbols is not None:
        try:
            return {
                name: convert_phoneme(symbol, source, str(symbols))
                for name, symbol in names.items()
            }
        except InputError as error:
            problem = f"{error}; give a table of your own: symbols=FILE"
            raise ArgumentError("symbols", problem) from error
    return names


def symbol_encoder(
    phonemes: PhonemeSet, symbols: str | Path | None = None
) -> Callable[[Iterable[str]], list[int]]:
    """Encodes phonemes that are given in another notation, or by a table of the user.

    A sequence is either in that notation or, all of it, as the set spells it: ``D`` is not the same
    in X-SAMPA as in ARPABET.

    Args:
        phonemes: The set.
        symbols: As for ``symbol_map``.

    Returns:
        A function as ``PhonemeSet.encode``, which raises ``InputError`` for a phoneme that is not
        in the set.

    Raises:
        InputError: As for ``symbol_map``.
    """
    if symbols is None:
        return phonemes.encode
    names = symbol_map(phonemes.symbols, symbols)
    # Reversed, so that the first of several phonemes with one symbol is used.
    meant = {normalize_phoneme(symbol): own for own, symbol in reversed(names.items())}
    source = notation_of(phonemes.symbols) if symbols in NOTATIONS else None

    def own(symbol: str) -> str:
        phoneme = meant.get(normalize_phoneme(symbol))
        if phoneme is None and source is not None and symbol not in phonemes:
            with suppress(InputError):  # such as ə, which ARPABET without stress does not have
                phoneme = convert_phoneme(symbol, str(symbols), source)
        if phoneme is None or phoneme not in phonemes:
            raise InputError(
                f"phoneme {symbol!r} is not in the phoneme set{suggest(symbol, names.values())}"
            )
        return phoneme

    def encode(given: Iterable[str]) -> list[int]:
        sequence = list(given)
        try:
            return phonemes.encode(map(own, sequence))
        except InputError:
            if all(phoneme in phonemes for phoneme in sequence):
                return phonemes.encode(sequence)
            raise

    return encode


def read_user_table(file: Path) -> dict[str, str]:
    """Reads a table of symbols: on each line a phoneme and its symbol, with space between.

    Lines that begin with ``#`` and a space are comments. A phoneme is also known by its normal
    form.

    Raises:
        InputError: The file cannot be read, a line has not two columns, or a phoneme has two
            symbols.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(split_lines(read_text(file)), 1):
        columns = line.split()
        if not columns or line.startswith("# "):
            continue
        if len(columns) != 2:
            raise InputError(
                f"{file}: line {number}: found {len(columns)} columns, expected a phoneme and its "
                "symbol"
            )
        phoneme, symbol = columns
        if table.setdefault(phoneme, symbol) != symbol:
            raise InputError(
                f"{file}: line {number}: found {symbol!r} for {phoneme!r}, which is "
                f"{table[phoneme]!r} above"
            )
    return {normalize_phoneme(phoneme): symbol for phoneme, symbol in table.items()} | table


def _user_table(symbols: str | Path) -> Mapping[str, str]:
    file = Path(symbols)
    if not file.exists() and len(file.parts) == 1 and not file.suffix:
        known = suggest(str(symbols), NOTATIONS)
        raise ArgumentError("symbols", f"found {str(symbols)!r}{known}, or no such file")
    return read_user_table(file)


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
