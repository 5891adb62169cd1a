"""Worker processes: a decoder that crashes, hangs or takes too much memory costs one file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from waiting import run

from phoneme_moe.audio import standard_input, worker_pool
from phoneme_moe.audio.decode import Request, decode
from phoneme_moe.audio.waveform import load_waveform, waveform_blocks
from phoneme_moe.errors import InputError

RATE = 16_000
Faulty = Callable[[str], None]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    soundfile.write(tmp_path / "good.wav", noise, RATE)
    return tmp_path / "good.wav"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """Makes new workers run code for every file named ``bad.wav`` before they decode it."""

    def install(code: str) -> None:
        start = (
            "import sys, json; sys.path[:] = json.loads(sys.argv[1])\n"
            "import phoneme_moe.audio.worker as worker\n"
            "decode = worker.decode\n"
            "def decode_or_fail(request, *more):\n"
            "    if request.name.endswith('bad.wav'):\n"
            f"        {code}\n"
            "    return decode(request, *more)\n"
            "worker.decode = decode_or_fail\n"
            "worker.MAX_CPU_SECONDS = 1\n"
            "worker.main()\n"
        )
        monkeypatch.setattr(worker_pool, "_START", start)
        monkeypatch.setattr(worker_pool, "_pool", None)

    yield install
    if worker_pool._pool is not None:
        worker_pool._pool.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import faulthandler; faulthandler._sigsegv()", r"its decoder crashed \(signal 11\)"),
        ("import os; os.abort()", r"its decoder crashed \(signal 6\)"),
        ("import os; os._exit(3)", r"its decoder crashed \(exit status 3\)"),
        ("while True: pass", "its decoder ran for .* s without a result"),
        ("bytearray(8 << 30)", "needs more than 4 GB of memory"),
        ("raise ZeroDivisionError", r"its decoder crashed \(exit status 1\)"),
    ],
    ids=["segmentation fault", "abort", "exit", "hang", "memory", "bug"],
)
def test_a_fault_costs_its_file_alone(
    code: str, words: str, faulty: Faulty, good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty(code)
    expected = load_waveform(good, RATE)
    with pytest.raises(InputError, match=rf"bad.wav: {words}"):
        load_waveform(good.with_name("bad.wav"), RATE)
    assert np.array_equal(load_waveform(good, RATE), expected)
    assert capfd.readouterr() == ("", "")


def test_messages_of_decoders_stay_in_the_worker(
    faulty: Faulty, good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty("import os; os.write(2, b'[mpg123.c] error: this is no MPEG'); request = request")
    good.rename(good.with_name("bad.wav"))
    load_waveform(good.with_name("bad.wav"), RATE)
    assert capfd.readouterr() == ("", "")


def test_the_worker_gives_what_decoding_here_gives(good: Path) -> None:
    here = np.concatenate(list(decode(Request("a", str(good), 8000), pytest.fail)))
    assert np.array_equal(load_waveform(good, 8000), here)


def test_a_relative_path_is_that_of_the_current_folder(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_waveform(good, RATE)  # the worker starts in another folder
    monkeypatch.chdir(tmp_path)
    load_waveform("good.wav", RATE)


def test_an_answer_may_be_left_halfway(tmp_path: Path, good: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(100 * RATE, np.float32), RATE)
    blocks = waveform_blocks(tmp_path / "long.wav", RATE, whole_seconds=1)
    next(blocks)
    del blocks
    assert len(load_waveform(good, RATE)) == RATE


def test_workers_end_with_their_process(good: Path) -> None:
    code = (
        "import os, sys\n"
        "from phoneme_moe.audio import worker_pool\n"
        "from phoneme_moe.audio.waveform import load_waveform\n"
        f"load_waveform({str(good)!r}, 16000)\n"
        "worker = worker_pool._pool._idle.get_nowait()\n"
        "print(worker.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        # The end of the pipe that the worker inherited: it waits for both processes.
        process.wait()
    assert process.returncode == -signal.SIGKILL
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_its_own_workers(good: Path) -> None:
    code = (
        "import os\n"
        "from phoneme_moe.audio.waveform import load_waveform\n"
        f"load_waveform({str(good)!r}, 16000)\n"
        "if (child := os.fork()) == 0:\n"
        f"    os._exit(load_waveform({str(good)!r}, 16000).size != 16000)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        f"assert load_waveform({str(good)!r}, 16000).size == 16000\n"
    )
    result = run([sys.executable, "-c", code])
    assert (result.returncode, result.stderr) == (0, "")


def test_a_file_that_may_not_be_read(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may read everything, so the system's answer is played."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.open", refuse)
    with pytest.raises(InputError, match=r"^good.wav: Permission denied$"):
        list(decode(Request("good.wav", str(good)), pytest.fail))


@pytest.mark.parametrize(
    ("limit", "size", "words"),
    [
        ("1", 2 << 20, "-: standard input has more than 1 MB"),
        ("many", 10, "PHONEME_MOE_STDIN_MB: found 'many', expected a number of megabytes"),
    ],
)
def test_standard_input_has_a_limit(limit: str, size: int, words: str) -> None:
    code = (
        "from phoneme_moe.audio.waveform import load_waveform\n"
        "from phoneme_moe.errors import InputError\n"
        "try: load_waveform('-', 16000)\n"
        "except InputError as error: print(error)\n"
    )
    environment = os.environ | {standard_input.LIMIT_VARIABLE: limit}
    result = subprocess.run(
        [sys.executable, "-c", code], input=bytes(size), env=environment, capture_output=True
    )
    assert result.stdout.decode().startswith(words)
    assert result.stderr == b""
