"""What libraries log and warn about does not reach the terminal of a command."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TextIO

from phoneme_moe.system.terminal import print_error


def silence_libraries() -> None:
    """Drops log messages, and all warnings but those of this package, which become one line.

    ``python -W`` and ``PYTHONWARNINGS`` show the warnings of libraries, too.
    """
    # Without a handler, Python prints the messages of loggers that have none themselves.
    logging.getLogger().addHandler(logging.NullHandler())
    show_all = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category.__module__.partition(".")[0] == "phoneme_moe":
            print_error(f"phoneme-moe: {message}")
        elif sys.warnoptions:
            show_all(message, category, filename, lineno, file, line)

    warnings.showwarning = show
