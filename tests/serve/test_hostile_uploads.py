"""Whatever is sent, the answer is a result or one line, and the server goes on."""

from __future__ import annotations

import json
import random

import pytest
from starlette.testclient import TestClient

from tests.fuzz.audio import Audio
from tests.fuzz.mutations import mutate

PATHS = ("/v1/transcribe", "/v1/inspect", "/v1/audio")
CASES = 60

HOSTILE_FORMS = {
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n--x--"),
    "no end": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF',
    ),
    "another boundary": ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--"),
    "thousands of fields": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' * 5000 + b"--x--",
    ),
    "no disposition": ("multipart/form-data; boundary=x", b"--x\r\n\r\nRIFF\r\n--x--"),
    "a name with line breaks": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a\r\nX: y.wav"\r\n\r\n'
        b"RIFF\r\n--x--",
    ),
    "a huge header": (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Disposition: " + b"a" * 200_000 + b"\r\n\r\n1\r\n--x--",
    ),
    "nothing": ("multipart/form-data; boundary=x", b""),
    "bytes that are no text": ("multipart/form-data; boundary=\xff", b"\xff" * 1000),
}

HOSTILE_JSON = {
    "deep": "[" * 100_000,
    "deep objects": '{"changes":' * 3000,
    "huge number": '{"beam": ' + "9" * 5000 + "}",
    "infinity": '{"beam": Infinity}',
    "lone surrogate": '{"reference": "\\ud800"}',
    "long": json.dumps({"reference": "a " * 200_000}),
    "no object": "3",
    "null": "null",
    "many changes": json.dumps({"changes": [{"layer": "x"}] * 1000}),
    "nul": '{"layer": "\\u0000"}',
}


def in_one_line(answer) -> None:
    """The answer is a result, or a refusal of one line."""
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text[:500]
    if answer.status_code != 200:
        message = answer.json()["error"]
        assert message
        assert "\n" not in message
        assert len(message) < 1000


def goes_on(client: TestClient, sound: bytes) -> None:
    assert client.post("/v1/transcribe", content=sound).status_code == 200
    metrics = client.get("/metrics").text
    assert "phoneme_moe_requests_in_progress 0.0" in metrics
    assert "phoneme_moe_waiting_recordings 0.0" in metrics


@pytest.mark.slow
def test_mutated_audio_of_every_format(client: TestClient, sound: bytes) -> None:
    chance = random.Random(0)
    files = Audio()._files
    for number in range(CASES):
        suffix, content = files[number % len(files)]
        name = f"{number}.{suffix}"
        hostile = mutate(content, chance)
        in_one_line(client.post(PATHS[number % 3], files={"file": (name, hostile)}))
    goes_on(client, sound)


@pytest.mark.parametrize("case", HOSTILE_FORMS)
def test_forms_that_are_none(client: TestClient, sound: bytes, case: str) -> None:
    kind, body = HOSTILE_FORMS[case]
    for path in (*PATHS, "/v1/align?phonemes=a", "/v1/labelled", "/v1/adapt", "/v1/format/json"):
        headers = {"content-type": kind.encode("latin-1")}
        in_one_line(client.post(path, content=body, headers=headers))
    goes_on(client, sound)


@pytest.mark.parametrize("case", HOSTILE_JSON)
def test_json_that_does_not_fit(client: TestClient, sound: bytes, case: str) -> None:
    text = HOSTILE_JSON[case]
    file = {"file": ("a.wav", sound)}
    in_one_line(client.post("/v1/inspect", files=file, data={"view": text}))
    in_one_line(client.post("/v1/labelled", files=file, data={"labels": text}))
    headers = {"content-type": "application/json"}
    in_one_line(client.post("/v1/speakers", content=text.encode(), headers=headers))
    goes_on(client, sound)


def test_a_hundred_thousand_segments(client: TestClient, sound: bytes) -> None:
    segments = [{"phoneme": "a", "start": 0.0, "end": 0.1}] * 100_000
    labels = json.dumps({"segments": segments})
    file = {"file": ("a.wav", sound)}
    answer = client.post("/v1/labelled", files=file, data={"labels": labels})
    assert answer.status_code == 400
    in_one_line(answer)


@pytest.mark.parametrize(
    "message", ["", "START", "\x00", "{}", "end\n", "x" * 100_000, b"\x00" * 3, b"\xff" * 40_000]
)
def test_messages_of_a_microphone(client: TestClient, sound: bytes, message: str | bytes) -> None:
    headers = {"host": "localhost"}
    with client.websocket_connect("/v1/listen?samples=f32le", headers=headers) as socket:
        assert socket.receive_json()["type"] == "ready"
        socket.send_bytes(message) if isinstance(message, bytes) else socket.send_text(message)
        event = socket.receive_json()
        assert event["type"] == "error"
    goes_on(client, sound)
