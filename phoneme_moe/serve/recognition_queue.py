"""Requests to recognise recordings: a bounded queue, and a thread that takes them in batches.

    request --place--> upload --decoder threads--> samples --queue--> batch --model--> transcript

A request has a place from its arrival to its answer. Without a free place, a server says when to
come again instead of letting everybody wait.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.errors import InputError
from phoneme_moe.serve.settings import Limits
from phoneme_moe.transcription.transcribe import Failure
from phoneme_moe.transcription.transcript import Transcript

GATHERING_SECONDS = 0.15
"""How long a batch waits for recordings that are being read; many at once cost little more."""

FIRST_SPEED = 10.0
"""Seconds of speech recognised per second, assumed until it is known."""


class QueueFullError(Exception):
    """There is no place for a request.

    Attributes:
        retry_after: Whole seconds after which it is worth trying again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Task(Protocol):
    """How recordings of the same task are recognised together; equal tasks make a batch."""

    def __hash__(self) -> int: ...

    def recognize(self, recordings: Sequence[Samples]) -> Iterator[Transcript | Failure]:
        """Recognises recordings; yields the results in order."""
        ...


@dataclass
class _Waiting:
    """A recording that waits for its turn."""

    task: Task
    recording: Samples
    seconds: float
    done: Callable[[Transcript | BaseException], None]
    abandoned: bool = False


@dataclass
class QueueState:
    """What a queue has to do and has done.

    Attributes:
        places: Requests that have a place.
        waiting: Recordings that wait.
        waiting_seconds: Their length in seconds.
        batches: Batches so far.
        recordings: Recordings recognised so far.
        seconds: Their length in seconds.
        busy_seconds: Time that took.
    """

    places: int = 0
    waiting: int = 0
    waiting_seconds: float = 0.0
    batches: int = 0
    recordings: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Seconds of speech recognised per second."""
        return self.seconds / self.busy_seconds if self.busy_seconds else FIRST_SPEED


class RecognitionQueue:
    """Recognises recordings of many requests, in order, as many of one task at once as wait."""

    def __init__(self, limits: Limits) -> None:
        """Starts the thread."""
        self.limits = limits
        self.state = QueueState()
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="recognition", daemon=True)
        self._thread.start()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a request, from its arrival to its answer.

        Raises:
            QueueFullError: All places are taken, or too much speech waits.
        """
        with self._changed:
            state = self.state
            full = state.places >= self.limits.requests
            if full or state.waiting_seconds >= self.limits.waiting_seconds:
                raise QueueFullError(self.retry_after())
            state.places += 1
        try:
            yield
        finally:
            with self._changed:
                self.state.places -= 1

    def retry_after(self) -> int:
        """Whole seconds in which half of what waits is probably done, at least one."""
        return max(1, math.ceil(self.state.waiting_seconds / self.state.speed / 2))

    async def recognize(self, task: Task, recording: Samples, seconds: float) -> Transcript:
        """Recognises a recording; if cancelled, gives it up.

        Args:
            task: How.
            recording: The recording.
            seconds: Its length.

        Raises:
            InputError: The recording cannot be used.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Transcript] = loop.create_future()

        def answer(result: Transcript | BaseException) -> None:
            if future.done():
                return
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

        def done(result: Transcript | BaseException) -> None:
            loop.call_soon_threadsafe(answer, result)

        waiting = _Waiting(task, recording, seconds, done)
        with self._changed:
            if self._ended:
                raise InputError("the server is shutting down")
            self._waiting.append(waiting)
            self.state.waiting += 1
            self.state.waiting_seconds += seconds
            self._changed.notify()
        try:
            return await future
        finally:
            waiting.abandoned = True

    def close(self) -> None:
        """Finishes what waits, and ends the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            began = time.perf_counter()
            self._recognize(batch)
            with self._changed:
                self.state.batches += 1
                self.state.recordings += len(batch)
                self.state.seconds += sum(waiting.seconds for waiting in batch)
                self.state.busy_seconds += time.perf_counter() - began

    def _next_batch(self) -> list[_Waiting]:
        """Waits for recordings and takes those of the first one's task; none at the end."""
        with self._changed:
            while True:
                for waiting in [w for w in self._waiting if w.abandoned]:
                    self._take(waiting)
                if self._waiting:
                    break
                if self._ended:
                    return []
                self._changed.wait()
            self._gather()
            task = self._waiting[0].task
            batch = [w for w in self._waiting if w.task == task][: self.limits.batch]
            for waiting in batch:
                self._take(waiting)
            return batch

    def _gather(self) -> None:
        """Waits a little for recordings that are on their way, until the batch is full."""
        end = time.monotonic() + GATHERING_SECONDS
        while not self._ended and self.state.waiting < min(self.limits.batch, self.state.places):
            if not self._changed.wait(max(0.0, end - time.monotonic())):
                return

    def _take(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        self.state.waiting -= 1
        self.state.waiting_seconds -= waiting.seconds

    def _recognize(self, batch: Sequence[_Waiting]) -> None:
        left = deque(batch)
        try:
            results = batch[0].task.recognize([waiting.recording for waiting in batch])
            for result in results:
                answer = result.error if isinstance(result, Failure) else result
                left.popleft().done(answer)
        except Exception as error:
            # Whatever goes wrong is the answer of those that have none yet; the thread goes on.
            for waiting in left:
                waiting.done(error)
