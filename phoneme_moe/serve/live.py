"""Live recognition over a WebSocket: sound in, events out."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import numpy as np
import soxr
from starlette.websockets import WebSocket, WebSocketDisconnect

from phoneme_moe.audio.mixing import OffsetRemoval
from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import InputError
from phoneme_moe.serve.served_runs import ServedRun
from phoneme_moe.transcription.live import LiveRecognizer, LiveSettings, LiveStep

SampleFormat = Literal["s16le", "f32le"]

MAX_MESSAGE_SECONDS = 10.0
"""Longest sound of a message: a client that is late must not send all at once."""


class LiveSession:
    """Recognition of one stream of sound."""

    def __init__(
        self, served: ServedRun, rate: int, samples: SampleFormat, settings: LiveSettings
    ) -> None:
        """Prepares for sound that starts at time 0.

        Args:
            served: The run.
            rate: Samples per second that arrive.
            samples: Their format; one channel.
            settings: Step size and look-ahead.

        Raises:
            InputError: The run cannot recognise live speech.
        """
        self.recognizer = LiveRecognizer(served.engine(), settings)
        self.experts = self.recognizer.engine.spec.experts
        spec = self.recognizer.engine.spec
        self.frame_seconds = spec.feature_seconds * spec.stack
        model_rate = self.recognizer.front_end.sample_rate
        self._resample = None
        if rate != model_rate:
            self._resample = soxr.ResampleStream(rate, model_rate, 1, "float32", quality="HQ")
        self._remove_offset = OffsetRemoval()
        self._type = np.dtype("<i2") if samples == "s16le" else np.dtype("<f4")
        self._full_scale = 32768.0 if samples == "s16le" else 1.0
        self._most = round(MAX_MESSAGE_SECONDS * rate)

    def feed(self, data: bytes) -> dict[str, Any] | None:
        """Takes samples and returns what they complete; None if that is nothing.

        Raises:
            InputError: The samples are no numbers of the format, or too many.
        """
        if len(data) % self._type.itemsize:
            raise InputError(f"audio: found {len(data)} bytes, expected whole samples")
        samples = np.frombuffer(data, self._type).astype(np.float32) / np.float32(self._full_scale)
        if len(samples) > self._most:
            raise InputError(
                f"audio: found {len(samples)} samples in a message, expected at most {self._most}"
            )
        if not np.isfinite(samples).all():
            raise InputError("audio: samples are NaN or infinite; is their format f32le?")
        return self._event(self._at_model_rate(samples, last=False), ended=False)

    def finish(self) -> dict[str, Any] | None:
        """Ends the stream and returns the rest."""
        rest = self._at_model_rate(np.empty(0, np.float32), last=True)
        return self._event(rest, ended=True)

    def _at_model_rate(self, samples: Waveform, last: bool) -> Waveform:
        samples = self._remove_offset(samples) if len(samples) else samples
        if self._resample is None:
            return samples
        resampled: Waveform = self._resample.resample_chunk(samples, last=last)
        return resampled

    def _event(self, samples: Waveform, ended: bool) -> dict[str, Any] | None:
        began = time.perf_counter()
        steps = self.recognizer.feed_steps(samples)
        if ended:
            steps += self.recognizer.finish_steps()
        if not steps:
            return None
        return {
            "type": "steps",
            "steps": [_step(step) for step in steps],
            "compute": round(time.perf_counter() - began, 4),
        }


def _step(step: LiveStep) -> dict[str, Any]:
    return {
        "start": round(step.start, 4),
        "received": round(step.received, 4),
        "weights": step.weights.astype(float).round(3).tolist(),
        "phonemes": [
            {
                "phoneme": live.phoneme,
                "time": round(live.time, 3),
                "confidence": round(live.confidence, 4),
                "expert": live.expert,
                "latency": round(live.latency, 3),
            }
            for live in step.phonemes
        ],
    }


async def serve_live(socket: WebSocket, session: LiveSession) -> None:
    """Runs a session until the client ends it with the text ``end`` or goes away.

    Recognition runs in a thread, so that one microphone does not hold up the others.
    """
    await socket.send_json(
        {
            "type": "ready",
            "experts": list(session.experts),
            "frame_seconds": session.frame_seconds,
            "sample_rate": session.recognizer.front_end.sample_rate,
        }
    )
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (data := message.get("bytes")) is not None:
                event = await asyncio.to_thread(session.feed, data)
                if event is not None:
                    await socket.send_json(event)
            elif message.get("text") == "end":
                event = await asyncio.to_thread(session.finish)
                if event is not None:
                    await socket.send_json(event)
                slowest = round(session.recognizer.slowest_step, 4)
                await socket.send_json({"type": "end", "slowest_step": slowest})
                await socket.close()
                return
            else:
                raise InputError("message: expected samples, or the text end")
    except InputError as error:
        await socket.send_json({"type": "error", "error": str(error)})
        await socket.close(1003)
    except WebSocketDisconnect:
        return
