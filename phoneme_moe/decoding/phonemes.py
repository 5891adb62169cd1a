"""Phoneme sets: the phonemes of a model in the order of its outputs.

A phoneme is looked up as it is, then by its normal form: runs of earlier versions keep the spelling
of their corpus, in which ``t͡ʃ`` may stand for what is now ``tʃ``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.notation.normal_form import normalize_phoneme

BLANK = 0
"""Index of the CTC blank, in models that recognise whole utterances."""


@dataclass(frozen=True)
class PhonemeSet:
    """An ordered set of phoneme symbols.

    Attributes:
        symbols: The phonemes in order, without the blank.
        has_blank: Whether output 0 is the CTC blank and phonemes start at 1.
    """

    symbols: tuple[str, ...]
    has_blank: bool
    _indices: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        offset = int(self.has_blank)
        indices = {symbol: index + offset for index, symbol in enumerate(self.symbols)}
        if len(indices) != len(self.symbols):
            raise ValueError("a phoneme occurs twice in the phoneme set")
        for symbol in self.symbols:
            indices.setdefault(normalize_phoneme(symbol), indices[symbol])
        object.__setattr__(self, "_indices", indices)

    @property
    def num_outputs(self) -> int:
        """Number of outputs, including the blank."""
        return len(self.symbols) + int(self.has_blank)

    def __contains__(self, symbol: str) -> bool:
        return self._index(symbol) is not None

    def encode(self, phonemes: Iterable[str]) -> list[int]:
        """Output indices of phonemes.

        Raises:
            InputError: A phoneme is not in the set.
        """
        indices = []
        for phoneme in phonemes:
            index = self._index(phoneme)
            if index is None:
                raise InputError(
                    f"phoneme {phoneme!r} is not in the phoneme set{suggest(phoneme, self.symbols)}"
                )
            indices.append(index)
        return indices

    def decode(self, indices: Sequence[int]) -> list[str]:
        """Phonemes of output indices, blanks removed."""
        offset = int(self.has_blank)
        return [self.symbols[index - offset] for index in indices if index >= offset]

    def spell(self, phonemes: Iterable[str]) -> tuple[str, ...]:
        """Phonemes as the set spells them; those that it does not have in their normal form."""
        return tuple(
            normalize_phoneme(phoneme)
            if (index := self._index(phoneme)) is None
            else self.symbols[index - self.has_blank]
            for phoneme in phonemes
        )

    def _index(self, phoneme: str) -> int | None:
        index = self._indices.get(phoneme)
        return self._indices.get(normalize_phoneme(phoneme)) if index is None else index
