"""One normal form of phonemes, so that one phoneme is one symbol however it was typed.

The normal form merges different encodings of the same symbol and keeps everything that may
distinguish phonemes (length, tone, stress, any diacritic, upper and lower case). Symbols of ASCII
alone are left as they are: in ARPABET and X-SAMPA every character counts (``AA1``, ``t_S``).
"""

from __future__ import annotations

import unicodedata

NORMAL_FORM = 1
"""Version of the normal form; corpora prepared with another one are not up to date."""

SILENCES = frozenset(
    {"", "sil", "sp", "spn", "pau", "epi", "h#", "#", "<eps>", "<sil>", "<p:>", "<usb>", "<nib>"}
)
"""Labels of silence and of what is not speech, in small letters (HTK, Kaldi, TIMIT, MAUS)."""

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f"
_TIES = "\u035c\u0361\u203f"
_SAME = {
    "\u0261": "g",  # the IPA accepts both shapes of g
    "\u02a3": "dz",
    "\u02a4": "d\u0292",
    "\u02a5": "d\u0291",
    "\u02a6": "ts",
    "\u02a7": "t\u0283",
    "\u02a8": "t\u0255",
    "\u2019": "\u02bc",  # ejectives
}
_CHARACTERS = str.maketrans(_SAME | dict.fromkeys(_INVISIBLE + _TIES, ""))
_SEQUENCES = (
    ("\u0259\u02de", "\u025a"),  # rhotic schwa
    ("\u025c\u02de", "\u025d"),
    ("l\u0334", "\u026b"),  # dark l
)


def normalize_phoneme(symbol: str) -> str:
    """The normal form of a phoneme; the normal form of a normal form is the same.

    Symbols of ASCII alone do not change. In others, Unicode is composed (NFC), ``ɡ`` becomes ``g``,
    ligatures become letters (``ʧ`` is ``tʃ``), tie bars and invisible characters are removed, an
    ASCII colon after a letter is the length mark ``ː``, an ASCII apostrophe before the first letter
    the stress mark ``ˈ``, and rhotic ``ə˞`` and dark ``l̴`` are the letters ``ɚ`` and ``ɫ``.
    """
    if symbol.isascii():
        return symbol
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", symbol).translate(_CHARACTERS))
    for sequence, letter in _SEQUENCES:
        text = text.replace(sequence, letter)
    text = text[:1].replace("'", "\u02c8") + text[1:].replace(":", "\u02d0")
    return unicodedata.normalize("NFC", text) or symbol


def split_phonemes(text: str) -> tuple[str, ...]:
    """The phonemes of a text, which are separated by white space, in their normal form."""
    return tuple(map(normalize_phoneme, text.split()))


def is_silence(symbol: str) -> bool:
    """Whether a label stands for silence, noise or nothing."""
    return symbol.lower() in SILENCES
