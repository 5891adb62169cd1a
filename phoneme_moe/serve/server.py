"""What the routes of a server share, and its start and end."""

from __future__ import annotations

import asyncio
import tempfile
from functools import cached_property
from pathlib import Path

from phoneme_moe.corpora.lexicon import Lexicon, read_lexicon
from phoneme_moe.serve.jobs import Jobs
from phoneme_moe.serve.metrics import Metrics
from phoneme_moe.serve.recognition_queue import RecognitionQueue
from phoneme_moe.serve.served_runs import ServedRuns
from phoneme_moe.serve.settings import ServerSettings
from phoneme_moe.system.cores import usable_cores


class Server:
    """The parts of a server."""

    def __init__(self, runs: ServedRuns, settings: ServerSettings) -> None:
        """Starts them.

        Args:
            runs: The runs.
            settings: The settings.

        Raises:
            InputError: The dictionary cannot be read.
        """
        self.runs = runs
        self.settings = settings
        self.lexicon: Lexicon | None = None
        if settings.lexicon is not None:
            self.lexicon = read_lexicon(settings.lexicon)
        self.queue = RecognitionQueue(settings.limits)
        self.metrics = Metrics(self.queue)
        self.jobs = Jobs()
        self.live_sessions = 0
        self._temporary = tempfile.TemporaryDirectory(prefix="phoneme_moe_")

    @property
    def temporary(self) -> Path:
        """A folder that ends with the server."""
        return Path(self._temporary.name)

    @cached_property
    def cores(self) -> asyncio.Semaphore:
        """Decoding of uploads and single recognitions: as many at a time as there are cores."""
        return asyncio.Semaphore(usable_cores().number)

    def close(self) -> None:
        """Finishes what runs."""
        self.queue.close()
        self.jobs.close()
        self._temporary.cleanup()
