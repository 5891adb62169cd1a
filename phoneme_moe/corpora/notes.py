"""Notes of a preparation: what was left out or changed, counted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Notes:
    """Counts of what was left out or changed, with the first place of each kind."""

    _places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, what: str, where: str, number: int = 1) -> None:
        """Counts an utterance or a line.

        Args:
            what: What was done, for all of its kind: ``"utterances without words, left out"``.
            where: The utterance or line.
            number: How many, if more than one.
        """
        first, known = self._places.get(what, (where, 0))
        self._places[what] = first, known + number

    def lines(self) -> list[str]:
        """One line for each kind: what, how many, and the first place."""
        return [
            f"{what}: {number} (first: {first})" for what, (first, number) in self._places.items()
        ]
