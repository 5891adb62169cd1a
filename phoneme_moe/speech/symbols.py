"""Phonemes in other symbols, and folded onto smaller sets: tables beside this file.

A table is a text file of two columns with a tab between; ``#`` begins a line of explanation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib.resources import files

from phoneme_moe.errors import InputError, suggest

SYMBOLS = ("arpabet", "ipa")
"""What phonemes can be written in."""

_STRESS = re.compile(r"[A-Z]+[012]")
_PREFIX = "fold_"


def symbol_map(
    phonemes: Sequence[str], symbols: str | None = None, fold: str | None = None
) -> dict[str, str]:
    """What each phoneme of a set is written as: first folded, then in other symbols.

    ARPABET stress digits are taken off, but ``AH0`` and ``ER0`` have symbols of their own in IPA.

    Args:
        phonemes: The set.
        symbols: ``arpabet`` or ``ipa``; what is written in it already stays. As they are when left
            out.
        fold: Name of a fold (``fold_names``); none when left out.

    Raises:
        InputError: There is no such fold or no such symbols, or a phoneme is in no table.
    """
    if symbols is not None and symbols not in SYMBOLS:
        raise InputError(f"--symbols: found {symbols!r}{suggest(symbols, SYMBOLS)}")
    found = {phoneme: phoneme for phoneme in phonemes}
    if fold is not None:
        if fold not in fold_names():
            raise InputError(f"--fold: found {fold!r}{suggest(fold, fold_names())}")
        table = _table(_PREFIX + fold)
        found = {p: _look_up(p, table, f"fold {fold}") for p in phonemes}
    if symbols is not None:
        found = {p: _written(s, symbols) for p, s in found.items()}
    return found


@functools.cache
def fold_names() -> tuple[str, ...]:
    """Folds that there are."""
    names = (entry.name for entry in files("phoneme_moe.speech").joinpath("tables").iterdir())
    return tuple(sorted(n[len(_PREFIX) : -len(".tsv")] for n in names if n.startswith(_PREFIX)))


def _written(symbol: str, symbols: str) -> str:
    to_ipa = _table("arpabet_ipa")
    # The first of several is the usual one: ə is AH0, then AX.
    to_arpabet: dict[str, str] = {}
    for arpabet, ipa in to_ipa.items():
        to_arpabet.setdefault(ipa, "AH" if arpabet == "AH0" else arpabet.rstrip("0"))
    table, known = (to_ipa, to_arpabet) if symbols == "ipa" else (to_arpabet, to_ipa)
    if symbol in known and symbol not in table:
        return _without_stress(symbol) if symbols == "arpabet" else symbol
    return _look_up(symbol, table, f"{symbols} symbols")


def _look_up(symbol: str, table: dict[str, str], what: str) -> str:
    for tried in (symbol, _without_stress(symbol), symbol.upper()):
        if tried in table:
            return table[tried]
    raise InputError(f"phoneme {symbol!r} has no entry in the {what}{suggest(symbol, table)}")


def _without_stress(symbol: str) -> str:
    return symbol[:-1] if _STRESS.fullmatch(symbol) else symbol


@functools.cache
def _table(name: str) -> dict[str, str]:
    text = files("phoneme_moe.speech").joinpath("tables", f"{name}.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return dict(rows)
