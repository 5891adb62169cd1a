"""The 39 ARPABET phonemes of CMUdict, and the fold that takes stress and position marks off."""

from __future__ import annotations

import re

_SYMBOLS = """
AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K
L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""
ARPABET = frozenset(_SYMBOLS.split())
_MARKS = re.compile(r"(?P<phoneme>[A-Z]+)[0-2]?(?:_[BIES])?")


def fold_arpabet(symbol: str) -> str:
    """``"IH1_B"`` becomes ``"IH"``; a symbol that is not ARPABET stays as it is."""
    match = _MARKS.fullmatch(symbol)
    return match["phoneme"] if match and match["phoneme"] in ARPABET else symbol
