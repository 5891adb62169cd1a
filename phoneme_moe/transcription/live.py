"""Recognising while somebody speaks: a step of a few frames at a time, with a short look ahead.

A step's frames are recognised once so much of what follows has been heard (``Pace.look_ahead``);
features are normalised by the last seconds before. What comes out depends on the sound alone, not
on how it was cut into pieces on its way here.

Legend: T frames of posteriors, F feature frames, M mel bands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.errors import InputError
from phoneme_moe.features.audio import Waveform
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelSpec, side_by_side


@dataclass(frozen=True)
class Pace:
    """How often a step is taken, and how much of what follows it waits for.

    Attributes:
        step: Seconds recognised at a time; rounded to whole frames of posteriors, at least one.
        look_ahead: Seconds after them that are heard first; rounded likewise.
        memory: Seconds by whose loudness and colour features are normalised.
        context: Seconds before a step that a model is given which looks at whole utterances.
    """

    step: float = 0.08
    look_ahead: float = 0.44
    memory: float = 8.0
    context: float = 2.0


@dataclass(frozen=True)
class LivePhoneme:
    """A phoneme as soon as it is recognised.

    Attributes:
        phoneme: Its symbol.
        time: Where it is recognised, in seconds from the start.
        confidence: Of its first frame, 0..1.
        expert: The expert with the greatest weight there; "" without experts.
        latency: Seconds of sound heard after ``time`` when it came out; the time that computing
            takes comes on top (``Listener.slowest``).
    """

    phoneme: str
    time: float
    confidence: float
    expert: str
    latency: float


class Listener:
    """Takes in sound piece by piece and gives phonemes as they are recognised."""

    def __init__(self, engine: Engine, pace: Pace | None = None) -> None:
        """Begins in silence.

        Args:
            engine: A model that recognises utterances and needs no embedding.
            pace: How often; as usual when left out.

        Raises:
            InputError: The model names tokens, or needs an embedding.
        """
        _check(engine.spec)
        self.engine = engine
        self.pace = pace or Pace()
        self.front_end = engine.spec.front_end()
        self.slowest = 0.0
        """Longest time that a step took, in seconds."""
        self._plan = _Plan(engine.spec, self.pace)
        self._waiting: Waveform = np.zeros(self.front_end.left, np.float32)
        self._energies: Floats = np.empty((0, self.front_end.n_mels), np.float32)
        self._first = 0  # frame of the first energies that are kept
        self._steps = 0
        self._samples = 0
        self._last = BLANK

    def feed(self, samples: Waveform) -> list[LivePhoneme]:
        """Hears the next samples and gives what they let it recognise.

        Args:
            samples: Amplitude -1..1 at the model's rate, shape (samples,); any number of them.
        """
        self._samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        found = self.front_end.energies_between(self._waiting)
        if len(found):
            self._waiting = self._waiting[len(found) * self.front_end.hop :]
            self._energies = np.concatenate([self._energies, found])
        return list(self._recognize(ended=False))

    def finish(self) -> list[LivePhoneme]:
        """Ends the sound and gives what is left; as at the end of a file."""
        missing = self._samples // self.front_end.hop - self._first - len(self._energies)
        if missing > 0:
            wanted = (missing - 1) * self.front_end.hop + self.front_end.n_fft
            padded = np.pad(self._waiting, (0, max(0, wanted - len(self._waiting))))
            found = self.front_end.energies_between(padded[:wanted])
            self._energies = np.concatenate([self._energies, found])
        return list(self._recognize(ended=True))

    def _recognize(self, ended: bool) -> Iterator[LivePhoneme]:
        plan = self._plan
        while True:
            heard = self._first + len(self._energies)
            needed, first = plan.needed(self._steps), plan.first(self._steps)
            if heard <= first or (heard < needed and not ended):
                return
            began = time.perf_counter()
            stop = min(needed, heard)
            features = plan.features(self._energies, self._first, self._steps, stop, self.front_end)
            said = self.engine.infer(features[None], np.array([len(features)]))
            own = plan.own(self._steps, len(said.log_posteriors[0]))
            now = stop * self.front_end.frame_seconds
            yield from self._read(said.log_posteriors[0][own], said.weights[0][own], now)
            self.slowest = max(self.slowest, time.perf_counter() - began)
            self._steps += 1
            spare = plan.oldest(self._steps) - self._first
            if spare > 0:
                self._energies, self._first = self._energies[spare:], self._first + spare

    def _read(self, log_posteriors: Floats, weights: Floats, now: float) -> Iterator[LivePhoneme]:
        spec = self.engine.spec
        step = spec.feature_seconds * spec.stack
        begins = self._steps * self._plan.step * step
        scaled = log_posteriors / spec.decoding.temperature
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        for frame, output in enumerate(log_posteriors.argmax(axis=1).tolist()):
            if output not in (BLANK, self._last):
                at = begins + frame * step
                yield LivePhoneme(
                    spec.phonemes.decode([output])[0],
                    at,
                    float(shares[frame, output] / shares[frame].sum()),
                    spec.experts[int(weights[frame].argmax())] if len(spec.experts) > 1 else "",
                    max(0.0, now - at),
                )
            self._last = output


class _Plan:
    """Which frames every step looks at: the same live and afterwards."""

    def __init__(self, spec: ModelSpec, pace: Pace) -> None:
        frame = spec.feature_seconds * spec.stack
        self.stack = spec.stack
        self.step = max(1, round(pace.step / frame))
        self.ahead = round(pace.look_ahead / frame)
        self.context = spec.context if spec.context is not None else round(pace.context / frame)
        self.memory = round(pace.memory / spec.feature_seconds)

    def first(self, step: int) -> int:
        """First feature frame that a step recognises."""
        return step * self.step * self.stack

    def needed(self, step: int) -> int:
        """Feature frames that must have been heard."""
        return ((step + 1) * self.step + self.ahead) * self.stack

    def begin(self, step: int) -> int:
        """First feature frame that the model is given."""
        return max(0, step * self.step - self.context) * self.stack

    def oldest(self, step: int) -> int:
        """First feature frame that is still of use."""
        return min(self.begin(step), max(0, self.needed(step) - self.memory))

    def own(self, step: int, num_frames: int) -> slice:
        """The step's frames among those of the posteriors."""
        first = step * self.step - self.begin(step) // self.stack
        return slice(first, min(first + self.step, num_frames))

    def features(
        self, energies: Floats, offset: int, step: int, stop: int, front_end: FrontEnd
    ) -> Floats:
        """What the model is given, normalised by what was heard last.

        Args:
            energies: Of feature frames from ``offset`` on, shape (frames, mel bands).
            offset: See there.
            step: Which step.
            stop: Feature frames heard so far.
            front_end: Normalises.
        """
        remembered = energies[max(0, stop - self.memory) - offset : stop - offset]
        level = front_end.level(lambda: [remembered])
        return front_end.normalize(energies[self.begin(step) - offset : stop - offset], level)


def _check(spec: ModelSpec) -> None:
    if spec.tokens:
        raise InputError(
            f"{spec.source}: it names the phoneme of one token; expected a run that recognises "
            "utterances (task.kind: recognize)"
        )
    if spec.embedding_size is not None:
        raise InputError(
            f"{spec.source}: its routers see an embedding of each recording, which is not known "
            "while somebody speaks"
        )


def recognize_as_live(
    engine: Engine, waveform: Waveform, pace: Pace | None = None
) -> list[tuple[str, float]]:
    """What a ``Listener`` gives for a whole recording, all steps computed side by side.

    Args:
        engine: As for ``Listener``.
        waveform: At the model's rate, shape (samples,).
        pace: As for ``Listener``.

    Returns:
        Each phoneme and where it is recognised, in seconds.

    Raises:
        InputError: As ``Listener``.
    """
    spec = engine.spec
    _check(spec)
    plan = _Plan(spec, pace or Pace())
    front_end = spec.front_end()
    energies = front_end.energies(waveform)
    steps = -(-len(energies) // (plan.step * spec.stack))
    windows = [
        plan.features(energies, 0, step, min(plan.needed(step), len(energies)), front_end)
        for step in range(steps)
    ]
    if not windows:
        return []
    lengths = np.array([len(window) for window in windows])
    said = engine.infer(side_by_side(windows), lengths).log_posteriors
    parts = [
        said[row, : -(-n // spec.stack)][plan.own(row, -(-n // spec.stack))]
        for row, n in enumerate(lengths.tolist())
    ]
    best = np.concatenate(parts).argmax(axis=1)
    fresh = np.flatnonzero((np.diff(best, prepend=BLANK) != 0) & (best != BLANK))
    frame = spec.feature_seconds * spec.stack
    phonemes = spec.phonemes.decode(best[fresh].tolist())
    return list(zip(phonemes, (fresh * frame).tolist(), strict=True))
