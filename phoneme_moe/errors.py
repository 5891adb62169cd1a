"""Exceptions that a command prints as one line: unusable input, interrupted training."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Unusable input: a file, or a key of a recipe.

    The message is one line that names the file or key, what was found and what was expected. Only
    ``phoneme_moe.cli`` catches it, prints a line on stderr and exits with a non-zero status.
    """


class ArgumentError(InputError):
    """Unusable argument of a public function.

    The message begins with the argument's name in Python, ``beam: ...``, and names other arguments
    as ``resume=True`` or ``beam=N``; a command prints the options instead, ``--beam: ...``,
    ``--resume`` and ``--beam N``.
    """

    def __init__(self, argument: str, problem: str) -> None:
        """Creates the message from its parts.

        Args:
            argument: Name of the argument.
            problem: What was found and what was expected.
        """
        super().__init__(f"{argument}: {problem}")
        self.argument = argument
        self.problem = problem


class OtherProcessError(InputError):
    """Another of the processes that train together has failed, and reports why."""


MOST_NAMES = 45
"""Most names in an error message: the phonemes of a language, not the utterances of a corpus."""


def suggest(name: str, known: Iterable[str]) -> str:
    """End of an error message about an unknown name, which suggests the closest known name.

    Args:
        name: The unknown name.
        known: The names that exist.

    Returns:
        ``" (did you mean 'x'?)"`` when one name is close, else ``" (known: a, b, c)"``, with at
        most ``MOST_NAMES``.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f" (known: {', '.join(names[:MOST_NAMES])}{more})"


class TrainingInterruptedError(Exception):
    """Training was stopped from the keyboard; the run folder can be resumed."""
