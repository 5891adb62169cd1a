"""Phoneme sets: the phonemes of a model in the order of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from phoneme_moe.errors import InputError, suggest

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
        object.__setattr__(self, "_indices", indices)

    @property
    def num_outputs(self) -> int:
        """Number of outputs, including the blank."""
        return len(self.symbols) + int(self.has_blank)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._indices

    def encode(self, phonemes: Iterable[str]) -> list[int]:
        """Output indices of phonemes.

        Raises:
            InputError: A phoneme is not in the set.
        """
        try:
            return [self._indices[phoneme] for phoneme in phonemes]
        except KeyError as error:
            unknown = error.args[0]
            raise InputError(
                f"phoneme {unknown!r} is not in the phoneme set{suggest(unknown, self.symbols)}"
            ) from error

    def decode(self, indices: Sequence[int]) -> list[str]:
        """Phonemes of output indices, blanks removed."""
        offset = int(self.has_blank)
        return [self.symbols[index - offset] for index in indices if index >= offset]
