"""Whether short trainings still end in the weights, scores and transcripts that are on record.

``python -m benchmarks.same_weights --record`` before a change that should change nothing, and
``python -m benchmarks.same_weights`` after it. Everything goes through the command line, so that
modules may move. Each training is a process of one thread with a fixed seed; its files are kept as
SHA-256: of weights the names, types, shapes and bytes of the tensors in order of name (not the
file, whose header may hold other things), of JSON the parsed document with sorted keys. Commands
run inside the folder of the runs, so that no path of the machine is in any document.

Sums differ between processors and releases of torch: a record holds only where it was made. Prints
a line for each run. Exit status: 0 all the same, 1 something differs, 2 nothing to compare with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).parents[1]
RECORD = Path(__file__).parent / "results" / "same_weights.json"
RECORDINGS = 3
"""So many recordings of its corpus are transcribed with each run."""


class Corpus(NamedTuple):
    """Where the speech of a run comes from.

    Attributes:
        published: Folder below the corpora of the user; None for a corpus that needs none.
        recordings: Pattern of audio files in that folder, or in the prepared corpus without one.
    """

    published: str | None
    recordings: str


class Short(NamedTuple):
    """A recipe made short.

    Attributes:
        corpus: Key of ``CORPORA``.
        changes: What ``--set`` takes; ``max_utterances`` is of each speaker in each split.
    """

    corpus: str
    changes: tuple[str, ...] = ()


CORPORA = {
    "announcers": Corpus(None, "audio/*/*-0.flac"),
    "fsdd": Corpus("fsdd", "recordings/*_0.wav"),
    "speechocean762": Corpus("speechocean762", "WAVE/*/*.*"),
}
ONE_EPOCH = (
    "corpus.max_utterances=2",
    "training.batch_size=16",
    "training.stages.joint.epochs=1",
)
RUNS = {
    "quick": Short("announcers"),
    "hampshire_waibel": Short("announcers", ("corpus.max_utterances=100",)),
    "linear_experts_em": Short("announcers", ("corpus.max_utterances=100",)),
    "announcer_words": Short(
        "announcers", ("corpus.max_utterances=60", "training.stages.joint.epochs=2")
    ),
    "six_speakers_digits": Short(
        "fsdd",
        (
            "corpus.max_utterances=40",
            *(f"training.stages.{stage}.epochs=1" for stage in ("shared", "experts", "gate")),
        ),
    ),
    "top_2": Short("speechocean762", ONE_EPOCH),
    "deepseek": Short("speechocean762", ONE_EPOCH),
    "hierarchical": Short("speechocean762", ONE_EPOCH),
    # By itself it would keep 256 hypotheses: minutes.
    "learners": Short("speechocean762", (*ONE_EPOCH, "task.beam=4")),
}


class FailedError(Exception):
    """A command failed; says which, and the last line of its errors."""


def main() -> int:
    """Runs what is wanted, then records or compares; gives the exit status."""
    arguments = _arguments()
    here = machine()
    record: dict[str, Any] = {"machine": here, "runs": {}}
    if RECORD.is_file():
        kept = json.loads(RECORD.read_text(encoding="utf-8"))
        if kept["machine"] == here:
            record = kept
        elif not arguments.record:
            print(f"recorded on another machine or torch: {kept['machine']}\nthis one: {here}")
            print("cannot compare: record on this machine at the commit before, then come back")
            return 2
    elif not arguments.record:
        print(f"no record at {RECORD}: make one with --record at the commit before")
        return 2
    wanted = [name for name in RUNS if not arguments.only or name in arguments.only]
    data = arguments.cache / "data"
    missing = prepare({RUNS[name].corpus for name in wanted}, data)
    differs = False
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        able = [name for name in wanted if RUNS[name].corpus not in missing]
        done = {name: pool.submit(measure, name, Path(folder) / name, data) for name in able}
        for name in wanted:
            if name not in done:
                print(f"{name:<20} skipped: {missing[RUNS[name].corpus]}", flush=True)
                continue
            try:
                hashes, seconds = done[name].result()
            except FailedError as error:
                differs = True
                print(f"{name:<20} failed: {error}", flush=True)
                continue
            if arguments.record:
                record["runs"][name] = hashes
                RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                verdict = "recorded"
            else:
                verdict = compare(hashes, record["runs"].get(name, {}))
                differs |= verdict != "same"
            print(f"{name:<20} {seconds:5.0f} s  {verdict}", flush=True)
    return int(differs)


def machine() -> dict[str, str]:
    """What the order and precision of sums depend on."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": models[0] if models else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
    }


def prepare(names: Iterable[str], data: Path) -> dict[str, str]:
    """Prepares corpora that are not prepared yet; gives the reason for each that cannot be."""
    missing = {}
    for name in sorted(names):
        published = CORPORA[name].published
        if published is None:
            phoneme_moe(["corpora", "prepare", name], data.parent, data)
        elif (corpora() / published).is_dir():
            source = str(corpora() / published)
            phoneme_moe(["corpora", "prepare", name, "--from", source], data.parent, data)
        else:
            missing[name] = f"no {corpora() / published} (set PHONEME_MOE_CORPORA)"
    return missing


def corpora() -> Path:
    """Where the user's copies of published corpora are, as the tests look for them."""
    beside = REPOSITORY.parent / "shared" / "corpora"
    return Path(os.environ.get("PHONEME_MOE_CORPORA") or beside).resolve()


def measure(name: str, folder: Path, data: Path) -> tuple[dict[str, str], float]:
    """Trains one run, transcribes with it, and gives the hash of each file and the seconds.

    Raises:
        FailedError: A command failed.
    """
    begin = time.perf_counter()
    short = RUNS[name]
    audio = folder / "audio"
    audio.mkdir(parents=True)
    for recording in recordings(short.corpus, data):
        shutil.copy(recording, audio)
    changes = [part for change in short.changes for part in ("--set", change)]
    phoneme_moe(["train", name, "--out", "run", "--device", "cpu", *changes], folder, data)
    options = ["--format", "json", "--out", "transcripts", "--device", "cpu", "--threads", "1"]
    phoneme_moe(["transcribe", "run", "audio", *options], folder, data)
    # With the weights at the end of each stage: they say where a difference began.
    weights = sorted(folder.glob("run/**/*.safetensors"))
    documents = [folder / "run" / "evaluation.json", *sorted(folder.glob("transcripts/*.json"))]
    hashes = {str(path.relative_to(folder)): hash_of_weights(path) for path in weights}
    hashes |= {str(path.relative_to(folder)): hash_of_json(path) for path in documents}
    shutil.rmtree(folder)
    return hashes, time.perf_counter() - begin


def recordings(corpus: str, data: Path) -> list[Path]:
    """A few recordings of a corpus, spread over its speakers, the same ones every time."""
    published, pattern = CORPORA[corpus]
    files = sorted((corpora() / published if published else data / corpus).glob(pattern))
    return [files[i * len(files) // RECORDINGS] for i in range(RECORDINGS)]


def phoneme_moe(arguments: list[str], folder: Path, data: Path) -> None:
    """Runs the command of this checkout on one thread inside a folder.

    Raises:
        FailedError: It failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "PHONEME_MOE_DATA": str(data),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "phoneme_moe", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise FailedError(f"phoneme-moe {' '.join(arguments[:2])}: {last}")


def hash_of_weights(path: Path) -> str:
    """SHA-256 over name, type, shape and bytes of each tensor, by name."""
    import torch
    from safetensors.torch import load_file

    total = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def hash_of_json(path: Path) -> str:
    """SHA-256 of the document, whatever its layout and the order of its keys."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def compare(hashes: dict[str, str], kept: dict[str, str]) -> str:
    """``same``, or the files that differ from those on record."""
    if not kept:
        return "not on record"
    differing = [name for name in sorted(kept | hashes) if kept.get(name) != hashes.get(name)]
    return f"differs: {', '.join(differing)}" if differing else "same"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="NAME", help=", ".join(RUNS))
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "phoneme_moe_same_weights",
        help="keeps the prepared corpora; remove it to prepare them anew [default: %(default)s]",
    )
    arguments = parser.parse_args()
    arguments.cache = arguments.cache.resolve()
    return arguments


if __name__ == "__main__":
    sys.exit(main())
