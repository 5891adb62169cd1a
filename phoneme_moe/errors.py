"""What a command tells its user in one line: unusable input, or training that was stopped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the file or key, what was found and what was expected.
    Raised at the door (recipes, audio files, run folders, corpora), turned into a line on
    stderr and a non-zero exit status by ``phoneme_moe.cli`` alone.
    """


class ArgumentError(InputError):
    """An argument of a function cannot be used.

    Its message begins with the argument's name in Python, ``beam: ...``, and names other arguments
    as ``resume=True`` or ``beam=N``; a command prints its options instead, ``--beam: ...``,
    ``--resume`` and ``--beam N``.
    """

    def __init__(self, argument: str, problem: str) -> None:
        """Says which argument, and why.

        Args:
            argument: Its name in Python.
            problem: What was found and what was expected.
        """
        super().__init__(f"{argument}: {problem}")
        self.argument = argument
        self.problem = problem


def suggest(found: str, known: Iterable[str]) -> str:
    """What a misspelt name was probably meant to be, as the end of an error message.

    Args:
        found: The name the user gave.
        known: The names that exist.

    Returns:
        ``" (did you mean 'x'?)"`` when one name is close, else ``" (known: a, b, c)"``.
    """
    names = sorted(known)
    close = difflib.get_close_matches(found, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})"


class TrainingInterruptedError(Exception):
    """Training was stopped from the keyboard; the run folder can be resumed."""
