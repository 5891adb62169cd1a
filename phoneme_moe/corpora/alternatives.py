"""Alternative pronunciations of the words of an utterance: ``custom["pronunciations"]`` of a cut.

A list with the pronunciations of each word in order, the first one of the lexicon first; those
first ones, joined, are ``custom["phonemes"]``. It is left out where no word has an alternative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from phoneme_moe.files.documents import shorten
from phoneme_moe.notation.normal_form import normalize_phoneme

KEY = "pronunciations"
MAX_ALTERNATIVES = 100
"""Most pronunciations of a word."""

Words: TypeAlias = Sequence[Sequence[Sequence[str]]]
"""For each word its pronunciations, each a sequence of phonemes."""


def first_pronunciation(words: Words) -> tuple[str, ...]:
    """The first pronunciation of every word, joined."""
    return tuple(phoneme for word in words for phoneme in word[0])


def all_pronunciations(words: Words) -> Iterable[tuple[str, ...]]:
    """Every pronunciation of every word."""
    return (tuple(pronunciation) for word in words for pronunciation in word)


def symbols_of(custom: Mapping[str, Any] | None) -> set[str]:
    """All symbols of the phonemes and of the alternatives in the custom fields of a cut."""
    fields = custom or {}
    symbols = set(fields.get("phonemes") or ())
    return symbols.union(*all_pronunciations(fields.get(KEY) or ()))


def custom_fields(words: Words) -> dict[str, Any]:
    """The custom fields of a supervision: phonemes in their normal form, and alternatives.

    Only the first ``MAX_ALTERNATIVES`` pronunciations of a word are kept.
    """
    normal = [
        [list(p) for p in dict.fromkeys(tuple(map(normalize_phoneme, p)) for p in word)]
        for word in words
    ]
    fields: dict[str, Any] = {"phonemes": list(first_pronunciation(normal))}
    if any(len(word) > 1 for word in normal):
        fields[KEY] = [word[:MAX_ALTERNATIVES] for word in normal]
    return fields


def check_alternatives(custom: dict[str, Any]) -> None:
    """Checks the alternatives in custom fields that may come from a stranger.

    Raises:
        ValueError: They are not lists of words, pronunciations and symbols, a word has none or too
            many, or their first ones are not the phonemes.
    """
    words = custom.get(KEY)
    if words is None:
        return
    is_list = isinstance(words, list) and all(
        isinstance(word, list) and all(isinstance(p, list) and p for p in word) for word in words
    )
    if not is_list or not all(isinstance(s, str) for p in all_pronunciations(words) for s in p):
        raise ValueError(
            f"{KEY}: found {shorten(words)}, expected a list of words, each a list of "
            "pronunciations, each a list of symbols"
        )
    for number, word in enumerate(words):
        if not 1 <= len(word) <= MAX_ALTERNATIVES:
            raise ValueError(
                f"{KEY}.{number}: found {len(word)} pronunciations of a word, expected 1 to "
                f"{MAX_ALTERNATIVES}"
            )
    if list(first_pronunciation(words)) != custom.get("phonemes"):
        raise ValueError(
            f"{KEY}: found first ones of {shorten(list(first_pronunciation(words)))}, expected the "
            f"phonemes {shorten(custom.get('phonemes'))}"
        )
