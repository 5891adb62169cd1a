"""Symbols of ``hama`` 1.7.0 as the 39 phonemes of CMUdict.

Its dictionary writes English in IPA. What differs from CMUdict in notation alone is mapped, so that
it counts as no error:

- stress is not written; ``ə`` and ``ʌ`` are AH, as CMUdict writes both;
- ``ɝ``, ``ɚ`` and ``ɜ`` are ER; so are ``ə ɹ``, and ``ə`` at the end of a word of several phonemes
  (``bʌtə``: butter);
- ``aɪ ɹ`` and ``aʊ ɹ`` at the end of a word or before a consonant are AY ER and AW ER (``faɪɹ``);
- the flap ``ɾ`` and the glottal stop ``ʔ`` are T; ``h w`` is W (``hwɪt͡ʃ``);
- plain and nasal vowels and rare consonants are the nearest English phoneme; diacritics, length and
  ties between words are dropped.

Where CMUdict has two spellings (``ə`` at the end, ``ə ɹ`` before a vowel, ``aɪ ɹ``), the one with
which it makes fewer errors on 100 sentences of the LibriSpeech dev speakers 2416, 3664, 3947 and
6848 is taken. Words that its dictionary pronounces otherwise than CMUdict (to: ``toʊ``, I: ``i``,
as: ``ɑz``, have: ``heɪv``) remain errors; the page states its errors by its own dictionary, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PHONEMES = {
    "AA": "ɑ a ɒ ã ä à å",
    "AE": "æ",
    "AH": "ə ʌ ɐ ɘ ɤ ᵊ",
    "AO": "ɔ",
    "AW": "aʊ",
    "AY": "aɪ",
    "B": "b β ɓ",
    "CH": "t͡ʃ t͡ɕ t͡ɕʰ t͡ɕ͈ c",
    "D": "d ɖ ɗ",
    "DH": "ð",
    "EH": "ɛ",
    "ER": "ɝ ɚ ɜ",
    "EY": "eɪ e ẽ",
    "F": "f ɸ",
    "G": "g ɡ ɣ",
    "HH": "h ɦ ħ x χ ç",
    "IH": "ɪ ɨ",
    "IY": "i ĩ ì ǐ y",
    "JH": "d͡ʒ ɟ",
    "K": "k kʰ k͈",
    "L": "l ɫ ʎ",
    "M": "m ɱ",
    "N": "n ɲ ñ",
    "NG": "ŋ ɴ",
    "OW": "oʊ o õ",
    "OY": "ɔɪ",
    "P": "p pʰ p͈",
    "R": "ɹ r ɻ ɽ ʀ ʁ",
    "S": "s s͈",
    "SH": "ʃ ɕ ʂ",
    "T": "t tʰ t͈ ɾ ʔ ʈ",
    "TH": "θ",
    "UH": "ʊ",
    "UW": "u ʉ ũ ɯ",
    "V": "v ʋ",
    "W": "w ʍ ɰ",
    "Y": "j",
    "Z": "z",
    "ZH": "ʒ ʐ ʑ ʝ",
    "EH R": "eə",
    "IH R": "ɪə",
    "Y UW": "ju",
}
SYMBOLS = {symbol: name for name, symbols in _PHONEMES.items() for symbol in symbols.split()}
_DROPPED = frozenset(
    "\u032a\u031f\u031e\u0303\u0329\u032f\u032c\u0325\u031a\u0320\u030d\u0361\u035c" + "‿ːˑ˞ʰʱʲʷˀ~"
)
"""Diacritics, ties and length, each a symbol."""
VOWELS = frozenset(name for name in _PHONEMES if name[0] in "AEIOU" and " " not in name)


def to_arpabet(words: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Converts the symbols of words to ARPABET; a symbol that is in no table stays as it is.

    Args:
        words: The symbols of each word.
    """
    return tuple(phoneme for word in words for phoneme in _word(word))


def _word(symbols: Sequence[str]) -> list[str]:
    kept = [
        symbol
        for before, symbol in zip(["", *symbols], symbols, strict=False)
        if symbol not in _DROPPED and before != "\u0361"  # the rest of an affricate
    ]
    phonemes = [p for symbol in kept for p in SYMBOLS.get(symbol, symbol).split()]
    if len(phonemes) > 1 and kept[-1] == "ə":
        phonemes[-1] = "ER"
    result: list[str] = []
    for index, phoneme in enumerate(phonemes):
        before = result[-1] if result else None
        ends = index + 1 == len(phonemes) or phonemes[index + 1] not in VOWELS
        if phoneme == "R" and before == "AH":
            result[-1] = "ER"
        elif phoneme == "R" and before in {"AY", "AW"} and ends:
            result.append("ER")
        elif phoneme == "W" and before == "HH":
            result[-1] = "W"
        else:
            result.append(phoneme)
    return result
