"""Figures of the server for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phoneme_moe.serve.recognition_queue import RecognitionQueue

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and gauges of one server."""

    def __init__(self, queue: RecognitionQueue) -> None:
        """Creates them; those of the queue are read at each request for them."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "phoneme_moe_requests",
            "Answered requests",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "phoneme_moe_request_seconds",
            "Time from a request to its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.live_sessions = Gauge(
            "phoneme_moe_live_sessions", "Microphones at this moment", registry=self.registry
        )
        state = queue.state
        for name, meaning, read in (
            ("requests_in_progress", "Requests with a place", lambda: state.places),
            ("waiting_recordings", "Recordings that wait", lambda: state.waiting),
            ("waiting_audio_seconds", "Their length", lambda: state.waiting_seconds),
            ("batches", "Batches recognised so far", lambda: state.batches),
            ("recordings", "Recordings recognised so far", lambda: state.recordings),
            ("audio_seconds", "Their length", lambda: state.seconds),
            ("busy_seconds", "Time that their recognition took", lambda: state.busy_seconds),
        ):
            gauge = Gauge(f"phoneme_moe_{name}", meaning, registry=self.registry)
            gauge.set_function(read)

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times the requests of each route (ASGI)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and notes its status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            # Of routes there are few; strangers' paths are not counted each.
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)
