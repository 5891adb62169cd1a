"""Long work that a page starts and looks after: one job at a time, in the order of arrival."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from phoneme_moe.errors import InputError
from phoneme_moe.serve.documents import AdaptationResult, JobDocument

Kind = Literal["adapt", "report"]
MAX_JOBS = 20
"""Jobs that are remembered; more cannot wait."""


@dataclass
class Job:
    """A piece of long work."""

    id: str
    kind: Kind
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    stage: str = ""
    error: str | None = None
    result: AdaptationResult | None = field(default=None)

    def document(self) -> JobDocument:
        """The job as JSON."""
        return JobDocument(
            id=self.id,
            kind=self.kind,
            state=self.state,
            stage=self.stage,
            error=self.error,
            result=self.result,
        )


class Jobs:
    """The jobs of a server."""

    def __init__(self) -> None:
        """Starts with none."""
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "job")

    def start(self, kind: Kind, work: Callable[[Job], AdaptationResult | None]) -> Job:
        """Starts a job when those before it have ended.

        Args:
            kind: What it does.
            work: Does it; may change the job's ``stage``.

        Raises:
            InputError: Too many jobs wait.
        """
        with self._lock:
            unfinished = [j for j in self._jobs.values() if j.state in {"waiting", "running"}]
            if len(unfinished) >= MAX_JOBS:
                raise InputError(f"jobs: found {MAX_JOBS} that wait, expected fewer")
            while len(self._jobs) >= MAX_JOBS:
                finished = (j.id for j in self._jobs.values() if j not in unfinished)
                del self._jobs[next(finished)]
            job = Job(secrets.token_urlsafe(9), kind)
            self._jobs[job.id] = job
        self._pool.submit(self._run, job, work)
        return job

    def find(self, id: str) -> Job:
        """The job of an identifier.

        Raises:
            InputError: There is none.
        """
        if id not in self._jobs:
            raise InputError("job: there is none of this identifier")
        return self._jobs[id]

    def close(self) -> None:
        """Waits for the job that runs; those that wait are given up."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, job: Job, work: Callable[[Job], AdaptationResult | None]) -> None:
        job.state = "running"
        try:
            job.result = work(job)
            job.state = "done"
        except InputError as error:
            job.error, job.state = str(error), "failed"
        except Exception as error:
            job.error, job.state = f"{type(error).__name__}: {error}", "failed"
            raise
