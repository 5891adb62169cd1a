"""Conversion of phoneme sets between ARPABET, IPA and X-SAMPA.

ARPABET is looked up as given, then without stress digit, then in capitals (TIMIT is lower case).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from typing import Literal, get_args

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.notation.normal_form import is_silence, normalize_phoneme
from phoneme_moe.notation.symbol_table import read_symbol_table
from phoneme_moe.notation.xsampa import ipa_to_xsampa, xsampa_to_ipa

Notation = Literal["arpabet", "ipa", "xsampa"]
NOTATIONS: tuple[Notation, ...] = get_args(Notation)
"""Phoneme notations."""

_STRESSED = re.compile(r"([A-Z]+)[012]")
_ARPABET_IPA = "arpabet_ipa"
_CAPITAL = re.compile("[A-Z]")
_XSAMPA = re.compile(r"^[0-9]|[@{}&?~_`:\\\"%=]")


def notation_of(phonemes: Collection[str]) -> Notation | None:
    """The notation of a phoneme set: that in which its phonemes make sense.

    A set with a character beyond ASCII is IPA. Otherwise the names of two letters that only ARPABET
    has (``AH``, ``sh``) are weighed against phonemes that are not ARPABET (``a``, ``{``, ``2:``),
    since its single letters are X-SAMPA, too. X-SAMPA has something besides small letters
    (``@``, ``2:``, ``S`` and ``I``).

    Returns:
        The notation; None if it is none of them, or cannot be told (``a k sh y``: ``y`` is another
        sound in romanised Japanese than in X-SAMPA).
    """
    if not all(phoneme.isascii() for phoneme in phonemes):
        return "ipa"
    names = [phoneme for phoneme in phonemes if not is_silence(phoneme)]
    table = read_symbol_table("phoneme_moe.notation", _ARPABET_IPA)
    arpabet = [name for name in names if arpabet_entry(name, table) is not None]
    spelled = sum(len(without_stress(name)) > 1 for name in arpabet)
    if spelled >= len(names) - len(arpabet):
        return "arpabet"
    if sum(len(_CAPITAL.findall(name)) for name in names) < 2 and not any(
        map(_XSAMPA.search, names)
    ):
        return None
    try:
        for name in names:
            xsampa_to_ipa(name)
    except InputError:
        return None
    return "xsampa"


def convert_phoneme(phoneme: str, source: str | None, target: str) -> str:
    """Converts a phoneme to another notation.

    In IPA, ``AH`` and ``ER`` with stress 0 are ə and ɚ, with other or no stress ʌ and ɝ. Conversion
    to ARPABET has no stress, so ə becomes ``AH``. Labels of silence are the same in IPA and
    X-SAMPA, and ``SIL`` from ARPABET.

    Args:
        phoneme: The phoneme.
        source: Its notation, one of ``NOTATIONS``; None if that is not known.
        target: The notation to convert to.

    Raises:
        InputError: The notation is not known, the phoneme is not of the notation, or the other
            notation has no symbol for it.
    """
    if source is None:
        raise InputError(
            f"phoneme {phoneme!r}: the notation of its phoneme set is neither ARPABET nor IPA, nor "
            "clearly X-SAMPA"
        )
    if source == "arpabet":
        entry = _known_arpabet(phoneme)
        if target == "arpabet":
            return without_stress(entry)
        ipa = read_symbol_table("phoneme_moe.notation", _ARPABET_IPA)[entry]
    elif is_silence(phoneme):
        return "SIL" if target == "arpabet" else phoneme
    else:
        ipa = xsampa_to_ipa(phoneme) if source == "xsampa" else phoneme
    if target == "arpabet":
        arpabet = _ipa_to_arpabet().get(normalize_phoneme(ipa))
        return without_stress(arpabet or _known_arpabet(phoneme))
    if target == "xsampa":
        return ipa if is_silence(ipa) else ipa_to_xsampa(ipa)
    # The shape of g in the chart of the IPA, as in the table of ARPABET.
    return ipa.replace("g", "\u0261") if source == "xsampa" else ipa


def arpabet_entry(symbol: str, table: Collection[str]) -> str | None:
    """Key of a symbol in a table of ARPABET; None if it has none."""
    for candidate in (symbol, without_stress(symbol), symbol.upper()):
        if candidate in table:
            return candidate
    return None


def without_stress(symbol: str) -> str:
    """ARPABET without its stress digit."""
    match = _STRESSED.fullmatch(symbol)
    return match[1] if match else symbol


def _known_arpabet(symbol: str) -> str:
    table = read_symbol_table("phoneme_moe.notation", _ARPABET_IPA)
    entry = arpabet_entry(symbol, table)
    if entry is None:
        raise InputError(
            f"phoneme {symbol!r} is not in the table {_ARPABET_IPA}{suggest(symbol, table)}"
        )
    return entry


@functools.cache
def _ipa_to_arpabet() -> dict[str, str]:
    # Reversed, so that the first of several rows with one IPA symbol is used.
    table = read_symbol_table("phoneme_moe.notation", _ARPABET_IPA)
    return {normalize_phoneme(ipa): arpabet for arpabet, ipa in reversed(table.items())}
