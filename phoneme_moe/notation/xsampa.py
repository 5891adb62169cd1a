"""X-SAMPA: the IPA in ASCII (Wells 1995, Computer-coding the IPA)."""

from __future__ import annotations

import functools
import re
import unicodedata

from phoneme_moe.errors import InputError
from phoneme_moe.notation.normal_form import normalize_phoneme
from phoneme_moe.notation.symbol_table import read_symbol_table

_TO_WRITE = str.maketrans(
    {
        "\u0261": "g",
        # Above a descender stand the marks that otherwise stand below.
        "\u030a": "\u0325",
        "\u030d": "\u0329",
        "\u0311": "\u032f",
        # Tone letters are tone marks.
        "\u02e5": "\u030b",
        "\u02e6": "\u0301",
        "\u02e7": "\u0304",
        "\u02e8": "\u0300",
        "\u02e9": "\u030f",
    }
)


def xsampa_to_ipa(symbol: str) -> str:
    """Converts a phoneme from X-SAMPA to IPA in its normal form, without tie bars.

    Raises:
        InputError: A part of the phoneme is not X-SAMPA.
    """
    table = read_symbol_table("phoneme_moe.notation", "xsampa_ipa")
    return normalize_phoneme("".join(_translate(symbol, table, "X-SAMPA")))


def ipa_to_xsampa(symbol: str) -> str:
    """Converts a phoneme from IPA to X-SAMPA; ``xsampa_to_ipa`` leads back to its normal form.

    Tone letters become tone marks.

    Raises:
        InputError: A part of the phoneme is not IPA, or X-SAMPA would read it differently.
    """
    ipa = normalize_phoneme(unicodedata.normalize("NFD", symbol).translate(_TO_WRITE))
    written = "".join(_translate(unicodedata.normalize("NFD", ipa), _ipa_table(), "IPA"))
    if xsampa_to_ipa(written) != ipa:
        raise InputError(f"phoneme {symbol!r}: X-SAMPA cannot express it")
    return written


def _translate(symbol: str, table: dict[str, str], notation: str) -> list[str]:
    parts = []
    position = 0
    for match in _pattern(notation).finditer(symbol):
        if match.start() != position:
            break
        parts.append(table.get(match[0], ""))  # a tie bar has no entry
        position = match.end()
    if position != len(symbol) or not symbol:
        raise InputError(f"phoneme {symbol!r}: {symbol[position:]!r} is not {notation}")
    return parts


@functools.cache
def _pattern(notation: str) -> re.Pattern[str]:
    """The longest part of a phoneme first; a tie bar stands between two letters."""
    table = read_symbol_table("phoneme_moe.notation", "xsampa_ipa")
    keys = table if notation == "X-SAMPA" else _ipa_table()
    parts = [re.escape(key) for key in sorted(keys, key=len, reverse=True)]
    tie = ["(?<=.)_(?=.)"] if notation == "X-SAMPA" else []
    return re.compile("|".join(parts + tie), re.DOTALL)


@functools.cache
def _ipa_table() -> dict[str, str]:
    """X-SAMPA by IPA, decomposed; of several rows with the same IPA the first is used."""
    table = read_symbol_table("phoneme_moe.notation", "xsampa_ipa")
    return {unicodedata.normalize("NFD", ipa): x for x, ipa in reversed(table.items())}
