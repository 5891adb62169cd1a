"""Live recognition over a WebSocket gives what ``listen`` gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soxr
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from phoneme_moe.pipeline import Trained
from phoneme_moe.serve.live import LiveSession
from phoneme_moe.serve.served_runs import ServedRun
from phoneme_moe.serve.settings import Limits
from phoneme_moe.transcription.live import LiveSettings, simulate_live
from phoneme_moe.transcription.run_engine import RunEngine

HOST = {"host": "localhost"}
SPOKEN = ["a", "s", "i", "m", "a", "i", "s", "a"]


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    spoken, _ = tiny.speak(SPOKEN, "ann", np.random.default_rng(3))
    return (spoken - spoken.mean()).astype(np.float32)


def phonemes_of(events: list[dict[str, Any]]) -> list[tuple[str, float]]:
    steps = [step for event in events for step in event.get("steps", [])]
    return [(one["phoneme"], one["time"]) for step in steps for one in step["phonemes"]]


def listen(client: TestClient, pieces: list[bytes], **query: Any) -> list[dict[str, Any]]:
    given = "&".join(f"{name}={value}" for name, value in query.items())
    events = []
    with client.websocket_connect(f"/v1/listen?{given}", headers=HOST) as socket:
        events.append(socket.receive_json())
        for piece in pieces:
            socket.send_bytes(piece)
        socket.send_text("end")
        while events[-1]["type"] not in {"end", "error"}:
            events.append(socket.receive_json())
    return events


def test_events_have_the_phonemes_of_the_command(
    client: TestClient, recognized: Trained, samples: np.ndarray
) -> None:
    pieces = [part.tobytes() for part in np.array_split(samples, 9)]
    events = listen(client, pieces, rate=tiny.RATE, samples="f32le")
    assert events[0]["type"] == "ready"
    assert events[0]["experts"] == ["ann", "bob", "carol"]
    found = phonemes_of(events)
    expected = simulate_live(RunEngine(recognized.run), samples)
    assert len(found) > 0
    assert [phoneme for phoneme, _ in found] == [phoneme for phoneme, _ in expected]
    assert [at for _, at in found] == pytest.approx([at for _, at in expected], abs=0.001)


def test_every_frame_has_weights_and_none_comes_twice(
    client: TestClient, samples: np.ndarray
) -> None:
    events = listen(client, [samples.tobytes()], rate=tiny.RATE, samples="f32le")
    frame = events[0]["frame_seconds"]
    steps = [step for event in events for step in event.get("steps", [])]
    covered = 0
    for step in steps:
        assert step["start"] == pytest.approx(covered * frame, abs=0.001)
        covered += len(step["weights"])
        assert all(sum(weights) == pytest.approx(1.0, abs=0.005) for weights in step["weights"])
    assert covered * frame == pytest.approx(len(samples) / tiny.RATE, abs=2 * frame)


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 4000), max_size=12))
def test_the_pieces_of_the_sound_do_not_matter(
    recognized: Trained, samples: np.ndarray, sizes: list[int]
) -> None:
    def recognise(cuts: list[int]) -> list[tuple[str, float]]:
        session = LiveSession(ServedRun("r", recognized.run), 16_000, "f32le", LiveSettings())
        doubled = soxr.resample(samples, tiny.RATE, 16_000).astype(np.float32)
        events, first = [], 0
        for size in [*cuts, len(doubled)]:
            events.append(session.feed(doubled[first : first + size].tobytes()))
            first += size
        events.append(session.finish())
        return phonemes_of([event for event in events if event])

    # The offset is removed as it comes; the sound here has none.
    assert [p for p, _ in recognise(sizes)] == [p for p, _ in recognise([])]


@pytest.mark.parametrize(
    ("query", "pieces", "error"),
    [
        ({"rate": 5}, [], "rate: found 5"),
        ({"run": "nobody"}, [], "run: found 'nobody'"),
        ({"step": 9}, [], "step and look_ahead"),
        ({}, [b"\0"], "audio: found 1 bytes, expected whole samples"),
        ({"samples": "f32le"}, [np.float32("nan").tobytes()], "audio: samples are NaN"),
        ({"rate": 1000}, [bytes(2 * 10_001)], "audio: found 10001 samples in a message"),
    ],
)
def test_what_does_not_fit_ends_the_session_in_one_line(
    client: TestClient, query: dict[str, Any], pieces: list[bytes], error: str
) -> None:
    with client.websocket_connect(
        "/v1/listen?" + "&".join(f"{name}={value}" for name, value in query.items()), headers=HOST
    ) as socket:
        for piece in pieces:
            assert socket.receive_json()["type"] == "ready"
            socket.send_bytes(piece)
        event = socket.receive_json()
        assert event["type"] == "error"
        assert event["error"].startswith(error)
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_only_so_many_microphones_at_once(serving: Callable[..., TestClient]) -> None:
    client = serving(Limits(live_sessions=1))
    with client.websocket_connect("/v1/listen", headers=HOST) as first:
        assert first.receive_json()["type"] == "ready"
        with client.websocket_connect("/v1/listen", headers=HOST) as second:
            assert "too many microphones" in second.receive_json()["error"]
    with client.websocket_connect("/v1/listen", headers=HOST) as third:
        assert third.receive_json()["type"] == "ready"
