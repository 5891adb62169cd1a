"""Requests are recognised together, each gets its own answer, and none is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.errors import InputError
from phoneme_moe.serve.recognition_queue import QueueFullError, RecognitionQueue
from phoneme_moe.serve.settings import Limits
from phoneme_moe.transcription.transcribe import Failure
from phoneme_moe.transcription.transcript import Transcript


def recording(name: str) -> Samples:
    return Samples(np.zeros(800, np.float32), 8000, name)


def transcript(name: str) -> Transcript:
    return Transcript(Path(name), 0.1, (), (), {}, "run", "recipe")


@dataclass(eq=False)
class Gate:
    """A task that waits until it may go on, and remembers its batches."""

    batches: list[list[str]] = field(default_factory=list)
    opened: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)

    def recognize(self, recordings: Sequence[Samples]) -> Iterator[Transcript | Failure]:
        self.batches.append([one.name for one in recordings])
        self.began.set()
        self.opened.wait()
        for one in recordings:
            if one.name == "bad":
                yield Failure(Path("bad"), InputError("bad: not audio"))
            elif one.name == "crash":
                raise RuntimeError("crash")
            else:
                yield transcript(one.name)


@pytest.fixture
def queue() -> Iterator[RecognitionQueue]:
    queue = RecognitionQueue(Limits(requests=5, waiting_seconds=10.0, batch=3))
    yield queue
    queue.close()


async def started(queue: RecognitionQueue, gate: Gate, names: Sequence[str]) -> list[asyncio.Task]:
    """Requests in this order, of which the first is being recognised."""
    tasks = []
    for number, name in enumerate(names):
        tasks.append(asyncio.create_task(queue.recognize(gate, recording(name), 0.1)))
        await asyncio.sleep(0)
        if number == 0:
            await asyncio.to_thread(gate.began.wait)
    return tasks


def test_what_waits_is_recognised_together_and_answered_to_each(queue: RecognitionQueue) -> None:
    gate = Gate()

    async def ask() -> list[str]:
        tasks = await started(queue, gate, ["a", "b", "c", "d", "e"])
        gate.opened.set()
        return [str((await task).path) for task in tasks]

    assert asyncio.run(ask()) == ["a", "b", "c", "d", "e"]
    assert gate.batches == [["a"], ["b", "c", "d"], ["e"]]
    assert (queue.state.recordings, queue.state.batches, queue.state.waiting) == (5, 3, 0)


def test_only_equal_tasks_share_a_batch(queue: RecognitionQueue) -> None:
    one, other = Gate(), Gate()

    async def ask() -> None:
        tasks = await started(queue, one, ["a"])
        for gate, name in ((one, "b"), (other, "x"), (one, "c")):
            tasks.append(asyncio.create_task(queue.recognize(gate, recording(name), 0.1)))
            await asyncio.sleep(0)
        one.opened.set()
        other.opened.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert one.batches == [["a"], ["b", "c"]]
    assert other.batches == [["x"]]


def test_a_bad_recording_costs_only_its_own_answer(queue: RecognitionQueue) -> None:
    gate = Gate()

    async def ask() -> list[object]:
        tasks = await started(queue, gate, ["a", "b", "bad", "c"])
        gate.opened.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    a, b, bad, c = asyncio.run(ask())
    assert [str(one.path) for one in (a, b, c) if isinstance(one, Transcript)] == ["a", "b", "c"]
    assert isinstance(bad, InputError)


def test_a_crash_is_the_answer_of_those_that_have_none_and_the_queue_goes_on(
    queue: RecognitionQueue,
) -> None:
    gate = Gate()

    async def ask() -> list[object]:
        tasks = await started(queue, gate, ["a", "b", "crash", "c"])
        gate.opened.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [*results, await queue.recognize(gate, recording("later"), 0.1)]

    a, b, crash, c, later = asyncio.run(ask())
    for one in (a, b, later):
        assert isinstance(one, Transcript)
    for one in (crash, c):
        assert isinstance(one, RuntimeError)


def test_who_goes_away_is_not_recognised(queue: RecognitionQueue) -> None:
    gate = Gate()

    async def ask() -> None:
        tasks = await started(queue, gate, ["a", "b", "c"])
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        gate.opened.set()
        await asyncio.gather(tasks[0], tasks[2])

    asyncio.run(ask())
    assert gate.batches == [["a"], ["c"]]
    assert queue.state.waiting_seconds == pytest.approx(0.0)


def test_places_are_bounded_and_come_back(queue: RecognitionQueue) -> None:
    taken = [queue.place() for _ in range(5)]
    for place in taken:
        place.__enter__()
    with pytest.raises(QueueFullError) as full, queue.place():
        pass
    assert full.value.retry_after >= 1
    taken[0].__exit__(None, None, None)
    with queue.place():
        pass
    for place in taken[1:]:
        place.__exit__(None, None, None)
    assert queue.state.places == 0


def test_waiting_speech_is_bounded_too(queue: RecognitionQueue) -> None:
    gate = Gate()

    async def ask() -> None:
        tasks = await started(queue, gate, ["a"])
        tasks.append(asyncio.create_task(queue.recognize(gate, recording("long"), 60.0)))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as full, queue.place():
            pass
        assert full.value.retry_after > 1
        gate.opened.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())


def test_closing_finishes_what_waits() -> None:
    queue, gate = RecognitionQueue(Limits()), Gate()

    async def ask() -> list[Transcript]:
        tasks = await started(queue, gate, ["a", "b", "c"])
        gate.opened.set()
        await asyncio.to_thread(queue.close)
        with pytest.raises(InputError, match="shutting down"):
            await queue.recognize(gate, recording("late"), 0.1)
        return await asyncio.gather(*tasks)

    assert [str(one.path) for one in asyncio.run(ask())] == ["a", "b", "c"]
