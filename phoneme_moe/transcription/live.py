"""Streaming recognition: a few frames per step, with a short look-ahead.

A step's frames are recognised once their look-ahead has arrived (``LiveSettings.look_ahead``);
features are normalised over the last few seconds. The result depends on the sound alone, not on how
it is divided into chunks.

Legend: T frames of posteriors, F feature frames, M mel bands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel_numpy import FrontEnd
from phoneme_moe.transcription.model_spec import Engine, Floats, ModelSpec, pad_rows

SILENT_ENERGY = 1e-20
"""Mel energy of frames in digital silence."""


@dataclass(frozen=True)
class LiveSettings:
    """Step size, look-ahead and context of streaming recognition.

    Attributes:
        step: Seconds recognised at a time, rounded to whole frames of posteriors (at least one).
        look_ahead: Seconds of sound after a step that must arrive before it is recognised, rounded
            likewise.
        memory: Seconds over which features are normalised.
        context: Seconds before a step that the model sees, if its receptive field is the whole
            utterance.
    """

    step: float = 0.08
    look_ahead: float = 0.44
    memory: float = 8.0
    context: float = 2.0


@dataclass(frozen=True)
class LivePhoneme:
    """A phoneme emitted by streaming recognition.

    Attributes:
        phoneme: Its symbol.
        time: Time at which CTC emits it, in seconds from the start.
        confidence: Posterior probability in the frame of emission, 0..1.
        expert: The expert with the greatest weight in that frame; "" if there is only one.
        latency: Seconds of sound received after ``time`` before the phoneme is returned, excluding
            computation (``LiveRecognizer.slowest_step``).
    """

    phoneme: str
    time: float
    confidence: float
    expert: str
    latency: float


@dataclass(frozen=True)
class LiveStep:
    """What one step of streaming recognition gives.

    Attributes:
        start: Time of its first frame, in seconds from the start of the sound.
        phonemes: The phonemes that were emitted in it.
        weights: Weight of each expert in each frame, shape (frames, experts); no frames in
            digital silence, which is not recognised.
        received: Seconds of sound received so far.
    """

    start: float
    phonemes: tuple[LivePhoneme, ...]
    weights: Floats
    received: float


class LiveRecognizer:
    """Takes sound chunk by chunk and returns phonemes as they are recognised."""

    def __init__(self, engine: Engine, settings: LiveSettings | None = None) -> None:
        """Prepares for sound that starts at time 0.

        Args:
            engine: Inference engine of a model that recognises utterances without an embedding.
            settings: Step size, look-ahead and context.

        Raises:
            InputError: The model classifies tokens, or takes an embedding.
        """
        check_live(engine.spec)
        self.engine = engine
        self.settings = settings or LiveSettings()
        self.front_end = engine.spec.front_end()
        self.slowest_step = 0.0
        """Longest computing time of a step, in seconds."""
        self._schedule = _Schedule(engine.spec, self.settings)
        self._waiting: Waveform = np.zeros(self.front_end.left, np.float32)
        self._energies: Floats = np.empty((0, self.front_end.n_mels), np.float32)
        self._first = 0  # index of the first feature frame kept in memory
        self._steps = 0
        self._samples = 0
        self._last = BLANK

    def feed(self, samples: Waveform) -> list[LivePhoneme]:
        """Takes the next samples and returns the phonemes that they complete.

        Args:
            samples: Amplitude -1..1 at the model's rate, shape (samples,); any number of them.
        """
        return [phoneme for step in self.feed_steps(samples) for phoneme in step.phonemes]

    def feed_steps(self, samples: Waveform) -> list[LiveStep]:
        """As ``feed``, with the routing of each step."""
        self._samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        energies = self.front_end.energies_between(self._waiting)
        if len(energies):
            self._waiting = self._waiting[len(energies) * self.front_end.hop :]
            self._energies = np.concatenate([self._energies, energies])
        return list(self._recognize(ended=False))

    def finish(self) -> list[LivePhoneme]:
        """Ends the stream and returns the remaining phonemes."""
        return [phoneme for step in self.finish_steps() for phoneme in step.phonemes]

    def finish_steps(self) -> list[LiveStep]:
        """As ``finish``, with the routing of each step."""
        missing = self._samples // self.front_end.hop - self._first - len(self._energies)
        if missing > 0:
            needed = (missing - 1) * self.front_end.hop + self.front_end.n_fft
            padded = np.pad(self._waiting, (0, max(0, needed - len(self._waiting))))
            energies = self.front_end.energies_between(padded[:needed])
            self._energies = np.concatenate([self._energies, energies])
        return list(self._recognize(ended=True))

    def _recognize(self, ended: bool) -> Iterator[LiveStep]:
        schedule = self._schedule
        while True:
            received = self._first + len(self._energies)
            needed, first = schedule.needed(self._steps), schedule.first(self._steps)
            if received <= first or (received < needed and not ended):
                return
            began = time.perf_counter()
            stop = min(needed, received)
            now = stop * self.front_end.frame_seconds
            phonemes: tuple[LivePhoneme, ...] = ()
            weights = np.empty((0, len(self.engine.spec.experts)), np.float32)
            if self._energies[: stop - self._first].max() > SILENT_ENERGY:
                features = schedule.features(
                    self._energies, self._first, self._steps, stop, self.front_end
                )
                model_output = self.engine.infer(features[None], np.array([len(features)]))
                log_posteriors = model_output.log_posteriors[0]
                frames = schedule.frames(self._steps, len(log_posteriors))
                weights = model_output.weights[0][frames]
                phonemes = tuple(self._decode(log_posteriors[frames], weights, now))
            else:
                self._last = BLANK
            self.slowest_step = max(self.slowest_step, time.perf_counter() - began)
            yield LiveStep(first * self.front_end.frame_seconds, phonemes, weights, now)
            self._steps += 1
            unused = schedule.oldest(self._steps) - self._first
            if unused > 0:
                self._energies, self._first = self._energies[unused:], self._first + unused

    def _decode(self, log_posteriors: Floats, weights: Floats, now: float) -> Iterator[LivePhoneme]:
        spec = self.engine.spec
        frame_seconds = spec.feature_seconds * spec.stack
        start = self._steps * self._schedule.step * frame_seconds
        scaled = log_posteriors / spec.decoding.temperature
        odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        for frame, output in enumerate(log_posteriors.argmax(axis=1).tolist()):
            if output not in (BLANK, self._last):
                emitted = start + frame * frame_seconds
                yield LivePhoneme(
                    spec.phonemes.decode([output])[0],
                    emitted,
                    float(odds[frame, output] / odds[frame].sum()),
                    spec.experts[int(weights[frame].argmax())] if len(spec.experts) > 1 else "",
                    max(0.0, now - emitted),
                )
            self._last = output


class _Schedule:
    """Which frames each step sees and recognises."""

    def __init__(self, spec: ModelSpec, settings: LiveSettings) -> None:
        frame = spec.feature_seconds * spec.stack
        self.stack = spec.stack
        self.step = max(1, round(settings.step / frame))
        self.ahead = round(settings.look_ahead / frame)
        self.context = spec.context if spec.context is not None else round(settings.context / frame)
        self.memory = round(settings.memory / spec.feature_seconds)

    def first(self, step: int) -> int:
        """First feature frame that a step recognises."""
        return step * self.step * self.stack

    def needed(self, step: int) -> int:
        """Number of feature frames that must have arrived."""
        return ((step + 1) * self.step + self.ahead) * self.stack

    def begin(self, step: int) -> int:
        """First feature frame of the model's input."""
        return max(0, step * self.step - self.context) * self.stack

    def oldest(self, step: int) -> int:
        """First feature frame that is still needed."""
        return min(self.begin(step), max(0, self.needed(step) - self.memory))

    def frames(self, step: int, num_frames: int) -> slice:
        """The frames of the posteriors that the step recognises."""
        first = step * self.step - self.begin(step) // self.stack
        return slice(first, min(first + self.step, num_frames))

    def features(
        self, energies: Floats, offset: int, step: int, stop: int, front_end: FrontEnd
    ) -> Floats:
        """The model's input, normalised over the last ``memory`` seconds.

        Args:
            energies: Mel energies from frame ``offset`` on, shape (frames, mel bands).
            offset: Index of the first of these frames.
            step: Index of the step.
            stop: Number of feature frames received so far.
            front_end: Front end that normalises them.
        """
        memory = energies[max(0, stop - self.memory) - offset : stop - offset]
        level = front_end.level(lambda: [memory])
        return front_end.normalize(energies[self.begin(step) - offset : stop - offset], level)


def check_live(spec: ModelSpec) -> None:
    """Checks that a model can recognise live speech.

    Raises:
        InputError: It classifies tokens, takes an embedding, or has a pretrained encoder.
    """
    if spec.tokens:
        raise InputError(
            f"{spec.source}: the model classifies single tokens (one token per recording); "
            "expected a run that recognises utterances (task.kind: recognize)"
        )
    if spec.embedding_size is not None:
        raise InputError(
            f"{spec.source}: its routers take an embedding of each recording, which streaming "
            "recognition does not have"
        )
    if spec.encode is not None:
        raise InputError(
            f"{spec.source}: features.kind: found pretrained, whose encoder takes whole "
            "recordings; streaming recognition needs log mel features"
        )


def simulate_live(
    engine: Engine, waveform: Waveform, settings: LiveSettings | None = None
) -> list[tuple[str, float]]:
    """The output of a ``LiveRecognizer`` for a whole recording, with all steps in one batch.

    Args:
        engine: As for ``LiveRecognizer``.
        waveform: Waveform at the model's sample rate, shape (samples,).
        settings: As for ``LiveRecognizer``.

    Returns:
        Each phoneme and the time at which it is emitted, in seconds.

    Raises:
        InputError: As for ``LiveRecognizer``.
    """
    spec = engine.spec
    check_live(spec)
    schedule = _Schedule(spec, settings or LiveSettings())
    front_end = spec.front_end()
    energies = front_end.energies(waveform)
    steps = -(-len(energies) // (schedule.step * spec.stack))
    windows = [
        schedule.features(energies, 0, step, min(schedule.needed(step), len(energies)), front_end)
        for step in range(steps)
    ]
    if not windows:
        return []
    lengths = np.array([len(window) for window in windows])
    log_posteriors = engine.infer(pad_rows(windows), lengths).log_posteriors
    parts = [
        log_posteriors[row, : -(-n // spec.stack)][schedule.frames(row, -(-n // spec.stack))]
        for row, n in enumerate(lengths.tolist())
    ]
    best = np.concatenate(parts).argmax(axis=1)
    emitted = np.flatnonzero((np.diff(best, prepend=BLANK) != 0) & (best != BLANK))
    frame = spec.feature_seconds * spec.stack
    phonemes = spec.phonemes.decode(best[emitted].tolist())
    return list(zip(phonemes, (emitted * frame).tolist(), strict=True))
