"""Notes of a preparation: what was left out or changed, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_NAMED = 20
"""Most unknown words that a note names."""


@dataclass
class Notes:
    """Counts of what was left out or changed, with the first place of each kind."""

    _places: dict[str, tuple[str, int]] = field(default_factory=dict)
    _unknown_words: dict[str, None] = field(default_factory=dict)
    _guessed_words: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, where: str, number: int = 1) -> None:
        """Counts an utterance or a line.

        Args:
            what: What was done, for all of its kind: ``"utterances without words, left out"``.
            where: The utterance or line.
            number: How many, if more than one.
        """
        first, known = self._places.get(what, (where, 0))
        self._places[what] = first, known + number

    def add_unknown_words(self, words: Iterable[str]) -> None:
        """Counts words that are not in a lexicon, each once."""
        self._unknown_words |= dict.fromkeys(words)

    def add_guessed_words(self, words: Mapping[str, int]) -> None:
        """Counts words whose pronunciations were guessed.

        Args:
            words: How often each occurs.
        """
        self._guessed_words.update(words)

    def lines(self) -> list[str]:
        """One line for each kind: what, how many, and the first place; then the words."""
        lines = [
            f"{what}: {number} (first: {first})" for what, (first, number) in self._places.items()
        ]
        if guessed := self._guessed_words:
            lines.append(
                f"words that are not in the lexicon, pronunciations guessed: {len(guessed)}, "
                f"in {guessed.total()} places (first: {_first(list(guessed))})"
            )
        if unknown := list(self._unknown_words):
            lines.append(
                f"words that are not in the lexicon: {len(unknown)} (first: {_first(unknown)})"
            )
        return lines


def _first(words: list[str]) -> str:
    more = ", ... (corpora unknown-words lists all)" if len(words) > MAX_NAMED else ""
    return ", ".join(words[:MAX_NAMED]) + more
