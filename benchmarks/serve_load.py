"""The server under load: nothing lost, memory, and speed beside ``transcribe``.

``python -m benchmarks.serve_load RECORDINGS`` starts ``phoneme-moe serve`` and, with locust
(``pip install locust``), fifty clients on loopback that send two hundred recordings at once, three
times over. Before and after, ``transcribe_files`` recognises the same files. It writes a section of
docs/serve.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import results
from benchmarks.results import table
from phoneme_moe.audio.finding import find_audio
from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import write_text
from phoneme_moe.system.cores import usable_cores

PAGE = Path(__file__).parents[1] / "docs" / "serve.md"
CLIENTS, FILES, ROUNDS = 50, 200, 3
LIMIT_SECONDS = 300

#: Each client takes the next file until there is none.
LOCUSTFILE = """
import json, os, time
from itertools import count
from pathlib import Path
from locust import FastHttpUser, task
from locust.exception import StopUser

FILES = json.loads(Path(os.environ["LOAD_FILES"]).read_text())
OUT = open(os.environ["LOAD_OUT"], "w")
NUMBERS = count()

class Client(FastHttpUser):
    @task
    def transcribe(self):
        number = next(NUMBERS)
        if number >= len(FILES):
            raise StopUser
        content = Path(FILES[number]).read_bytes()
        began = time.time()
        answer = self.client.post(
            f"/v1/transcribe?name={number}", data=content, name="transcribe"
        )
        json.dump([number, answer.status_code, answer.json(), began, time.time()], OUT)
        OUT.write("\\n")
        OUT.flush()
"""


def main() -> None:
    """Measures, keeps the figures, writes the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recordings", type=Path, nargs="+", help="folders or files of speech")
    parser.add_argument("--run", default="english")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--locust", default=shutil.which("locust"), help="the program")
    arguments = parser.parse_args()
    if arguments.locust is None:
        raise InputError("locust: not installed: pip install locust")

    def refuse(error: InputError) -> None:
        raise error

    files = find_audio(arguments.recordings, refuse)
    step = max(1, len(files) // arguments.files)
    chosen = [file.resolve() for file in files[::step][: arguments.files]]
    figures = _measure(arguments.run, chosen, arguments.locust)
    results.keep("serve_load", figures)
    write_text(PAGE, text())
    print(section(figures))


def text() -> str:
    """The page with the section of the kept figures."""
    return results.with_section(PAGE, "load", section(results.read("serve_load")))


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/serve.md."""
    rounds = figures["rounds"]
    alone = median(figures["transcribe"])
    speed = median(one["speed"] for one in rounds)
    memory = ", ".join(f"{one['megabytes']:.0f}" for one in rounds)
    batch = median(one["batch"] for one in rounds)
    latency = f"{median(o['median'] for o in rounds):.1f}, {median(o['p95'] for o in rounds):.1f} s"
    rows = [
        ["answers lost, refused, or of another file", "0", str(sum(o["wrong"] for o in rounds))],
        ["answers other than those of `transcribe`", "", str(sum(o["other"] for o in rounds))],
        ["seconds of speech per second, server", "", f"{speed:.0f}"],
        ["the same, `transcribe` on the same files", "", f"{alone:.0f}"],
        ["ratio", "0.70", f"{speed / alone:.2f}"],
        ["time to an answer, median and 95 %", "", latency],
        ["memory of the server at most, before and in each round", "flat",
         f"{figures['megabytes']:.0f}, {memory} MB"],
        ["recordings in a batch, mean", "", f"{batch:.1f}"],
    ]  # fmt: skip
    head = [f"`{figures['run']}`, {figures['files']} files, {CLIENTS} clients", "aim", "measured"]
    text = table(head, rows)
    return (
        f"\n{text}\nMedian of {len(rounds)} rounds; the files last {figures['seconds']:.0f} s. "
        f"{figures['machine']}, which server and clients share.\n"
        "`python -m benchmarks.serve_load RECORDINGS`\n"
    )


def _measure(run: str, files: Sequence[Path], locust: str) -> dict[str, Any]:
    expected, seconds, alone = _transcribe(run, files)
    server = subprocess.Popen(
        [sys.executable, "-m", "phoneme_moe", "serve", run, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    address = server.stderr.readline().split(" at ")[1].split()[0]
    figures: dict[str, Any] = {"run": run, "files": len(files), "seconds": seconds}
    figures["machine"] = f"{results.machine()}, {usable_cores().number} cores"
    try:
        with tempfile.TemporaryDirectory() as folder:
            _round(address, files[:CLIENTS], locust, Path(folder))  # warms up
            figures["megabytes"] = _megabytes(server.pid)
            figures["transcribe"], figures["rounds"] = [alone], []
            for _ in range(ROUNDS):
                answers, took, batch = _round(address, files, locust, Path(folder))
                phonemes = {int(a[2]["file"]): a[2].get("phonemes") for a in answers if a[1] == 200}
                times = [answer[4] - answer[3] for answer in answers]
                wrong = len(files) - len(phonemes) + sum(a[0] != int(a[2]["file"]) for a in answers)
                other = sum(phonemes.get(n) != expected[n] for n in range(len(files)))
                figures["rounds"].append(
                    {
                        "wrong": wrong,
                        "other": other,
                        "speed": seconds / took,
                        "median": median(times),
                        "p95": quantiles(times, n=20)[-1],
                        "megabytes": _megabytes(server.pid),
                        "batch": batch,
                    }
                )
                figures["transcribe"].append(_transcribe(run, files)[2])
    finally:
        server.terminate()
        server.wait()
    return figures


def _round(
    address: str, files: Sequence[Path], locust: str, folder: Path
) -> tuple[list[Any], float, float]:
    """Sends all files; the answers, the seconds it took, and the mean size of a batch."""
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    (folder / "files.json").write_text(json.dumps([str(file) for file in files]))
    out = folder / "answers.jsonl"
    out.unlink(missing_ok=True)
    environment = os.environ | {"LOAD_FILES": str(folder / "files.json"), "LOAD_OUT": str(out)}
    environment.pop("PYTHONPATH", None)
    before = _metrics(address)
    command = [locust, "-f", str(folder / "locustfile.py"), "--headless", "--host", address]
    command += ["-u", str(CLIENTS), "-r", str(CLIENTS), "-t", f"{LIMIT_SECONDS}s", "--only-summary"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and (not out.is_file() or _lines(out) < len(files)):
        time.sleep(0.1)
    process.terminate()
    process.wait()
    after = _metrics(address)
    batches = after["batches"] - before["batches"]
    batch = (after["recordings"] - before["recordings"]) / max(1, batches)
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    took = max(answer[4] for answer in answers) - min(answer[3] for answer in answers)
    return answers, took, batch


def _lines(file: Path) -> int:
    return file.read_text().count("\n")


def _transcribe(run: str, files: Sequence[Path]) -> tuple[list[list[str]], float, float]:
    """Phonemes of the files, their length in seconds, and seconds of speech per second."""
    import phoneme_moe
    from phoneme_moe.transcription.transcript import Transcript

    opened = phoneme_moe.load(run)
    list(opened.transcribe_files(files[:20]))
    began = time.perf_counter()
    found = list(opened.transcribe_files(files))
    took = time.perf_counter() - began
    transcripts = [one for one in found if isinstance(one, Transcript)]
    assert len(transcripts) == len(files)
    seconds = sum(one.duration for one in transcripts)
    return [list(one.phonemes) for one in transcripts], seconds, seconds / took


def _metrics(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        text = answer.read().decode()
    return {k: float(v) for k, v in re.findall(r"^phoneme_moe_(\w+) ([\d.e+]+)$", text, re.M)}


def _megabytes(pid: int) -> float:
    """Greatest resident memory of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1000


if __name__ == "__main__":
    main()
