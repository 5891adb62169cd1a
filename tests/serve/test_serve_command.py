"""``phoneme-moe serve`` as a process: it starts, refuses, is loaded, and ends in order."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from serve_process import Process
from serve_sound import wav
from waiting import wait_until

from phoneme_moe.pipeline import Trained

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = pytest.mark.slow


@pytest.fixture
def process(recognized: Trained) -> Iterator[Process]:
    process = Process(str(recognized.run.folder))
    yield process
    process.kill()


def test_fifty_clients_lose_nothing_and_get_their_own(process: Process) -> None:
    """Two hundred recordings from fifty clients at once, each with its own answer."""
    sounds = [wav(list("asim"[: 1 + number % 4]), seed=number) for number in range(20)]
    alone = [json.loads(process.post(sound)) for sound in sounds]

    def client(number: int) -> list[tuple[str, list[str]]]:
        answers = []
        for take in range(4):
            name = f"{number}-{take}.wav"
            document = json.loads(
                process.post(sounds[(4 * number + take) % 20], f"/v1/transcribe?name={name}")
            )
            answers.append((document["file"], document["phonemes"]))
        return answers

    with ThreadPoolExecutor(50) as clients:
        found = list(clients.map(client, range(50)))
    for number, answers in enumerate(found):
        for take, (name, phonemes) in enumerate(answers):
            assert name == f"{number}-{take}.wav"
            assert phonemes == alone[(4 * number + take) % 20]["phonemes"]
    with urllib.request.urlopen(f"{process.address}/metrics") as answer:
        metrics = answer.read().decode()
    assert "phoneme_moe_recordings 220.0" in metrics
    assert "phoneme_moe_requests_in_progress 0.0" in metrics
    batches = float(re.search(r"^phoneme_moe_batches ([\d.]+)", metrics, re.M)[1])
    assert batches < 220


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_runs(process: Process, number: int) -> None:
    sound = wav(list("asimasim") * 40)
    with ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(process.post, sound) for _ in range(8)]
        wait_until(
            lambda: _in_progress(process) > 0 or all(w.done() for w in waiting), process.process
        )
        assert process.end(number) == 0
        for one in waiting:
            assert len(json.loads(one.result())["phonemes"]) > 0
    assert "stopped; what was running is finished" in process.lines[-1]
    assert "Traceback" not in "".join(process.lines)


def _in_progress(process: Process) -> float:
    with urllib.request.urlopen(f"{process.address}/metrics") as answer:
        found = re.search(
            r"^phoneme_moe_requests_in_progress ([\d.]+)", answer.read().decode(), re.M
        )
    assert found is not None
    return float(found[1])


def test_a_request_that_is_cut_off_frees_its_place(process: Process) -> None:
    import socket

    assert process.address is not None
    host, port = process.address.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as half:
            half.sendall(
                b"POST /v1/transcribe HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: 9999\r\n\r\nRIFF"
            )
    wait_until(lambda: _in_progress(process) == 0, process.process)
    assert json.loads(process.post(wav(["a"])))["phonemes"] is not None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--host", "0.0.0.0"],
            "--host: found 0.0.0.0, which others may reach",
        ),
        (["--public-host", "a.org"], "--public-host: found a.org, which others may reach"),
        (["--lexicon", "missing.dict"], "missing.dict"),
        (["--max-seconds", "0"], "--max-seconds"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    recognized: Trained, phoneme_moe: Callable[..., Outcome], arguments: list[str], error: str
) -> None:
    outcome = phoneme_moe("serve", str(recognized.run.folder), *arguments)
    assert outcome.code != 0
    assert error in outcome.err


def test_a_taken_port_is_one_line(
    process: Process, recognized: Trained, phoneme_moe: Callable[..., Outcome]
) -> None:
    assert process.address is not None
    port = process.address.rpartition(":")[2]
    outcome = phoneme_moe("serve", str(recognized.run.folder), "--port", port)
    assert outcome.code == 1
    assert f"127.0.0.1:{port}: cannot listen there: " in outcome.err


def test_an_open_server_says_so_loudly(recognized: Trained) -> None:
    process = Process(str(recognized.run.folder), "--host", "0.0.0.0", "--insecure")
    assert process.end() == 0
    assert "WARNING: 0.0.0.0 is open" in "".join(process.lines)
