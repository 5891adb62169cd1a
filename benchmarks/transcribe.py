"""Transcription: speed, error by decoder, start-up, long files, latency, times; and PocketSphinx.

``python -m benchmarks.transcribe RUN [--words RUN]``: RUN is a trained recogniser of speechocean762
(``phoneme-moe train dense_large``), the other one of the announcers, whose times are exact
(``phoneme-moe train announcer_words``). PocketSphinx 5 (the extra ``peers``) recognises a sample of
the same files in its all-phone mode.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import page, results
from benchmarks.results import table
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.cli.transcribe import open_engine
from phoneme_moe.corpora import load_corpus
from phoneme_moe.corpora.lexicon import fold_arpabet
from phoneme_moe.decoding.scoring import score_utterance, total_score
from phoneme_moe.evaluation import quality
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription.bench import bench
from phoneme_moe.transcription.export import export_onnx
from phoneme_moe.transcription.live import LiveRecognizer, LiveSettings, simulate_live
from phoneme_moe.transcription.transcribe import (
    Failure,
    Options,
    transcribe_file,
    transcribe_files,
)

BEAMS = (None, 4, 16, 64)
SAMPLE = 60
"""Files for PocketSphinx."""

LIVE_SETTINGS = (
    LiveSettings(0.16, 0.0),
    LiveSettings(0.16, 0.16),
    LiveSettings(0.16, 0.32),
    LiveSettings(),
    LiveSettings(0.16, 0.64),
)


def engines(run: Path, folder: Path) -> dict[str, Path]:
    """The run, and its exports."""
    loaded = load_run(run)
    models = {"torch": run}
    for name, int8 in (("onnx", False), ("onnx, int8", True)):
        path = folder / f"{'int8' if int8 else 'fp32'}.onnx"
        export_onnx(loaded, path, int8)
        models[name] = path
    return models


def recordings(cuts: list[Any]) -> list[Path]:
    """Files of cuts, each of which is a whole recording."""
    return [Path(cut.recording.sources[0].source) for cut in cuts]


def in_a_process(*arguments: str) -> dict[str, Any]:
    """Runs this program in a separate process; the JSON of its last printed line."""
    command = [sys.executable, "-m", "benchmarks.transcribe", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def speed(model: Path, files: list[Path], threads: int) -> dict[str, Any]:
    """Stages, memory and start-up of a model; the faster of two passes, as caches fill."""
    engine = open_engine(model, "cpu", threads)
    first, second = bench(engine, files, cold=False), bench(engine, files)
    if first.all_seconds < second.all_seconds:
        faster = {key: getattr(first, key) for key in ("all_seconds", "times_real_time", "stages")}
        second = second.model_copy(update=faster)
    return second.model_dump()


def errors(model: Path, cuts: list[Any], beam: int | None) -> float:
    """PER of a model over cuts."""
    engine = open_engine(model, "cpu")
    options = Options(beam=beam)
    transcripts = transcribe_files(engine, recordings(cuts), options)
    scores = []
    for cut, transcript in zip(cuts, transcripts, strict=True):
        if isinstance(transcript, Failure):
            raise transcript.error
        reference = cut.supervisions[0].custom["phonemes"]
        scores.append(score_utterance(reference, transcript.phonemes))
    return total_score(scores).error_rate


def long_file(model: Path, files: list[Path], hours: float, folder: Path) -> dict[str, Any]:
    """Time and memory for a file of hours, made of shorter ones."""
    sounds = [load_waveform(path, 16_000) for path in files]
    path, length, written = folder / "long.flac", round(hours * 3600 * 16_000), 0
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        while written < length:
            for sound in sounds:
                file.write(sound[: length - written])
                written += len(sound[: length - written])
    figures = in_a_process(str(model), "--only-file", str(path))
    path.unlink()
    return figures


def only_file(model: Path, path: Path) -> dict[str, Any]:
    """Transcribes one file: seconds, phonemes, peak memory."""
    engine = open_engine(model, "cpu")
    began = time.perf_counter()
    transcript = transcribe_file(engine, path)
    return {
        "sound_seconds": transcript.duration,
        "seconds": time.perf_counter() - began,
        "phonemes": len(transcript.phonemes),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def live(model: Path, cuts: list[Any]) -> list[dict[str, Any]]:
    """PER by look-ahead, and the time of a step."""
    engine = open_engine(model, "cpu")
    rate = engine.spec.front_end().sample_rate
    waveforms = [load_waveform(path, rate) for path in recordings(cuts)]
    rows = []
    for settings in LIVE_SETTINGS:
        scores = []
        for cut, waveform in zip(cuts, waveforms, strict=True):
            hypothesis = [phoneme for phoneme, _ in simulate_live(engine, waveform, settings)]
            scores.append(score_utterance(cut.supervisions[0].custom["phonemes"], hypothesis))
        recognizer, seconds = LiveRecognizer(engine, settings), []
        for waveform in waveforms[:20]:
            for first in range(0, len(waveform), rate // 50):
                began = time.perf_counter()
                recognizer.feed(waveform[first : first + rate // 50])
                seconds.append(time.perf_counter() - began)
        rows.append(
            {
                "step": settings.step,
                "look_ahead": settings.look_ahead,
                "per": total_score(scores).error_rate,
                "step_ms": 1000 * float(np.quantile(seconds, 0.99)),
                "bound": settings.step + settings.look_ahead + float(np.quantile(seconds, 0.99)),
            }
        )
    return rows


def pocketsphinx(cuts: list[Any]) -> dict[str, Any] | None:
    """PocketSphinx's all-phone mode on the same recordings; None where it is not installed."""
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError:
        return None
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        lw=2.0,
        beam=1e-10,
        pbeam=1e-10,
        loglevel="FATAL",
    )
    scores, sound, seconds = [], 0.0, 0.0
    for cut, path in zip(cuts, recordings(cuts), strict=True):
        began = time.perf_counter()
        waveform = load_waveform(path, 16_000)
        samples = (np.clip(waveform, -1, 1) * 32767).astype("<i2")
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        words = [segment.word for segment in decoder.seg()]
        seconds += time.perf_counter() - began
        sound += len(waveform) / 16_000
        hypothesis = [fold_arpabet(word) for word in words if word.isalpha() and word != "SIL"]
        scores.append(score_utterance(cut.supervisions[0].custom["phonemes"], hypothesis))
    return {
        "files": len(cuts),
        "per": total_score(scores).error_rate,
        "times_real_time": sound / seconds,
    }


def boundaries(words: Path) -> dict[str, Any]:
    """Errors of phoneme times with and without the timing net."""
    run = load_run(words)
    corpus = load_corpus(run.recipe.corpus.name)
    after = quality.time_errors(run, corpus, "test")
    run.recognizer.timing = None
    before = quality.time_errors(run, corpus, "test")
    assert before is not None
    assert after is not None
    return {"before": before.model_dump(), "after": after.model_dump()}


def section(figures: dict[str, Any]) -> str:
    """Markdown for docs/benchmarks.md."""
    parts = [
        "## Transcription\n",
        f"`python -m benchmarks.transcribe` on {figures['machine']}. `{figures['recipe']}` on the "
        f"{figures['files']} test recordings of speechocean762\n({figures['sound_seconds']:,.0f} "
        "s, Ogg Opus), batched, greedy, times and confidence included.\n",
    ]
    rows = [
        [
            name,
            f"{row['times_real_time']:,.0f}",
            *(f"{row['stages'][stage]:.1f}" for stage in row["stages"]),
            f"{row['all_seconds']:.1f}",
            f"{row['memory_mb']:,.0f}",
            f"{row['cold_start_seconds']:.2f}",
            f"{100 * row['per']:.2f}",
        ]
        for name, row in figures["speed"].items()
    ]
    stages = list(next(iter(figures["speed"].values()))["stages"])
    head = [
        "",
        "times real time",
        *(f"{s}, s" for s in stages),
        "all, s",
        "MB",
        "start, s",
        "PER, %",
    ]
    parts.append(
        table(head, rows)
        + "\nStages are timed one after the other; in *all*, loading and features "
        "overlap with the network. Start: a file of 5 s, with imports and\nloading of the model. "
        "Memory is that of the measuring process, which holds all recordings.\n"
    )
    sphinx = figures["pocketsphinx"]
    if sphinx:
        ours = figures["sample_per"]
        parts.append(
            f"PocketSphinx 5, all-phone mode, on {sphinx['files']} of the recordings: "
            f"{sphinx['times_real_time']:.0f} times real time on one core, "
            f"{100 * sphinx['per']:.1f} % PER; on the same files here {100 * ours:.1f} %.\n"
        )
    parts.append("### Decoders\n")
    rows = [
        [
            "greedy" if row["beam"] is None else f"beam {row['beam']}",
            *(f"{100 * row[split]:.2f}" for split in ("dev", "test")),
            f"{100 * (row['test'] / figures['decoders'][0]['test'] - 1):+.1f}",
        ]
        for row in figures["decoders"]
    ]
    parts.append(
        table(["decoder", "dev PER, %", "test PER, %", "relative to greedy on test, %"], rows)
        + "\nThe n-gram is estimated on the run's training phonemes; its weight and the "
        "insertion bonus were chosen on dev. No sentence of dev\nis in training, and 25 of the 500 "
        "of test are.\n"
    )
    rows = [
        [
            f"{row['step']:.2f}",
            f"{row['look_ahead']:.2f}",
            f"{100 * row['per']:.2f}",
            f"{row['step_ms']:.0f}",
            f"{row['bound']:.2f}",
        ]
        for row in figures["live"]
    ]
    parts.append(
        "### Live\n\nMaximum latency is step + look-ahead + computation; 99 % of the steps are "
        "computed "
        "within the time in the column step, ms.\n\n"
        + table(["step, s", "look-ahead, s", "test PER, %", "step, ms", "maximum latency, s"], rows)
    )
    long = figures["long"]
    parts.append(
        f"### Long files\n\nA FLAC of {long['sound_seconds'] / 3600:.1f} hours: "
        f"{long['seconds']:.0f} s ({long['sound_seconds'] / long['seconds']:.0f} times real time), "
        f"{long['memory_mb']:,.0f} MB peak memory, {long['phonemes']:,} phonemes.\n"
    )
    if figures.get("boundaries"):
        rows = []
        for name, label in (("before", "CTC posteriors"), ("after", "timing net")):
            errors = figures["boundaries"][name]
            rows.append(
                [
                    label,
                    *(
                        f"{errors[edge]['median_ms']:.0f}, "
                        f"{100 * errors[edge]['within_20_ms']:.0f}, "
                        f"{100 * errors[edge]['within_25_ms']:.0f}"
                        for edge in ("start", "end")
                    ),
                ]
            )
        parts.append(
            "### Times\n\n`announcer_words` on the announcers' test words, whose times are exact: "
            "median error in ms, % within 20 ms, % within 25 ms of correctly recognised "
            "phonemes.\n\n" + table(["times from", "start", "end"], rows)
        )
    return "\n".join(parts)


def main() -> None:
    """Measures, prints the section, keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--words", type=Path, help="a run of announcer_words")
    parser.add_argument("--quick", action="store_true", help="few files, nothing kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--only-file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-speed", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_file:
        print(json.dumps(only_file(arguments.run, arguments.only_file)))
        return
    run = load_run(arguments.run)
    corpus = load_corpus(run.recipe.corpus.name)
    every = 25 if arguments.quick else 1
    cuts = {split: list(corpus.cuts(split))[::every] for split in ("dev", "test")}
    files = recordings(cuts["test"])
    if arguments.only_speed:
        print(json.dumps(speed(arguments.only_speed, files, arguments.threads)))
        return
    figures: dict[str, Any] = {
        "machine": results.machine(),
        "recipe": run.recipe.name,
        "files": len(files),
    }
    quick = ["--quick"] if arguments.quick else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["speed"] = {}
        for label, model in engines(arguments.run, folder).items():
            row = in_a_process(
                str(arguments.run), "--only-speed", str(model), "--threads",
                str(arguments.threads), *quick,
            )  # fmt: skip
            row["per"] = errors(model, cuts["test"], None)
            figures["speed"][label] = row
            print(f"{label}: {row['times_real_time']:.0f} times real time", flush=True)
        figures["sound_seconds"] = row["sound_seconds"]
        figures["decoders"] = [
            {"beam": beam}
            | {split: errors(arguments.run, cuts[split], beam) for split in ("dev", "test")}
            for beam in BEAMS
        ]
        sample = cuts["test"][:: max(1, len(files) // SAMPLE)]
        figures["pocketsphinx"] = pocketsphinx(sample)
        figures["sample_per"] = errors(arguments.run, sample, None)
        figures["live"] = live(arguments.run, cuts["test"])
        hours = 0.05 if arguments.quick else arguments.hours
        figures["long"] = long_file(arguments.run, files[:40], hours, folder)
    if arguments.words:
        figures["boundaries"] = boundaries(arguments.words)
    print(section(figures))
    if not arguments.quick:
        results.keep("transcribe", figures)
        page.write()


if __name__ == "__main__":
    main()
