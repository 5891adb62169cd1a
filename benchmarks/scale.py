"""Training by several processes: what it costs, and what experts spread over them move.

``python -m benchmarks.scale`` writes a section of docs/scale.md; ``--quick`` trains little and
keeps nothing. Trainings are those of a user, through the command line, and take turns: a round has
each of them once. Bytes are counted where they are sent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from benchmarks import results
from benchmarks.results import table
from phoneme_moe.corpora import prepare_corpus
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.files.writing import write_text
from phoneme_moe.mixture.sparse.expert_feed_forward import ExpertFeedForward
from phoneme_moe.mixture.sparse.expert_rows import Assignment
from phoneme_moe.mixture.sparse.spread_experts import SpreadExperts

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
CORPORA = Path(os.environ.get("PHONEME_MOE_CORPORA", ROOT.parent / "shared" / "corpora"))

RECIPE = "top_2"
WAYS: dict[str, tuple[str, list[str]]] = {
    "one process, two threads": ("2", []),
    "two processes of one thread": ("1", ["--devices", "2"]),
    "the same, experts spread": ("1", ["--devices", "2", "--spread-experts"]),
}
"""Number of threads of a process and options of ``train``."""

TRAVEL = """
Bytes that leave a process for each of its frames, in a layer of 256 channels in float32: counted in
gloo processes, forward and backward; and by arithmetic, for frames alone (there and back, without
weights and places of assignments).

"""

FRAMES, WIDTH = 400, 256
GROUPS = ((2, 16), (2, 64), (4, 16), (4, 64), (4, 256))
"""Numbers of processes and of experts."""
SELECTED = ((2, None), (8, None), (8, 2))
"""Experts of a frame, and the largest number of processes that have them; None for no limit."""


def train_seconds(way: str, folder: Path, epochs: int, utterances: int) -> dict[str, float]:
    """Seconds of an epoch (without the first) and loss of the last, of one training."""
    threads, options = WAYS[way]
    out = folder / way.replace(" ", "_").replace(",", "")
    settings = [
        f"training.stages.joint.epochs={epochs}",
        f"corpus.max_utterances={utterances}",
        "training.timing=null",
        "training.augmentation={}",
        "model.encoder.dropout=0",
        "training.precision=32-true",
    ]
    words = ["train", RECIPE, "--out", str(out), "--device", "cpu"]
    words += [part for setting in settings for part in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "phoneme_moe", *words, *options],
        env=os.environ | {"OMP_NUM_THREADS": threads},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = [row["seconds"] for row in read_rows(out / "seconds.csv")][1:]
    loss = read_rows(out / "metrics.csv")[-1]["loss"]
    shutil.rmtree(out)
    return {"seconds": statistics.median(map(float, seconds)), "loss": float(loss)}


def routing(num_ranks: int, num_experts: int, top_k: int, most_ranks: int | None) -> Assignment:
    """Random experts of every frame; with a limit, of the processes with the highest scores.

    The score of a process is the sum of its highest ones (DeepSeek-V3, sec. 2.1.2).
    """
    scores = torch.rand(FRAMES, num_experts)
    if most_ranks is not None:
        by_rank = scores.view(FRAMES, num_ranks, -1)
        best = by_rank.topk(min(top_k // most_ranks, by_rank.shape[-1])).values.sum(dim=-1)
        chosen = torch.zeros(FRAMES, num_ranks).scatter(1, best.topk(most_ranks).indices, 1)
        scores = (by_rank * chosen[..., None]).reshape(FRAMES, num_experts)
    expert = scores.topk(top_k).indices.flatten()
    token = torch.arange(FRAMES).repeat_interleave(top_k)
    return Assignment(token, expert, torch.rand(len(token), requires_grad=True))


def expected_copies(num_ranks: int, num_experts: int, top_k: int) -> float:
    """Mean number of other processes that have an expert of a frame, of ``top_k`` random ones."""
    on_each = num_experts // num_ranks
    without = comb(num_experts - on_each, top_k) / comb(num_experts, top_k)
    return (num_ranks - 1) * (1 - without)


def count_bytes(rank: int, num_ranks: int, port: int, queue: Any) -> None:
    """Counts what this process sends to others, forward and backward, for each setting."""
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=num_ranks
    )
    sent = 0
    exchange = distributed.all_to_all_single

    def counted(output: Tensor, rows: Tensor, *splits: Any, **more: Any) -> Any:
        nonlocal sent
        counts = splits[1] if splits else more.get("input_split_sizes")
        counts = [len(rows) // num_ranks] * num_ranks if counts is None else counts
        width = rows[0].numel() * rows.element_size() if len(rows) else 0
        sent += width * (sum(counts) - counts[rank])
        return exchange(output, rows, *splits, **more)

    # torch's function with a gradient calls this one, too.
    # A stand-in for a function of torch is an assignment of another type to mypy.
    distributed.all_to_all_single = counted  # type: ignore[assignment]
    torch.manual_seed(rank)
    for group, num_experts in GROUPS:
        for top_k, most_ranks in SELECTED if group == num_ranks else ():
            if most_ranks == num_ranks:
                continue
            whole = ExpertFeedForward(num_experts, WIDTH, 16)
            tokens = torch.randn(FRAMES, WIDTH, requires_grad=True)
            sent = 0
            output = SpreadExperts(whole)(
                tokens, routing(num_ranks, num_experts, top_k, most_ranks)
            )
            forward, sent = sent, 0
            output.sum().backward()
            if rank == 0:
                queue.put(
                    {
                        "ranks": num_ranks,
                        "experts": num_experts,
                        "top_k": top_k,
                        "most_ranks": most_ranks,
                        "forward": forward / FRAMES,
                        "backward": sent / FRAMES,
                    }
                )
    distributed.barrier()
    distributed.destroy_process_group()


def travel() -> list[dict[str, Any]]:
    """Bytes that leave a process for each of its frames, counted in gloo processes."""
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for num_ranks in sorted({ranks for ranks, _ in GROUPS}):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        queue = context.Queue()
        processes = [
            context.Process(target=count_bytes, args=(rank, num_ranks, port, queue))
            for rank in range(num_ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        while not queue.empty():
            rows.append(queue.get())
    return rows


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures."""
    base = "one process, two threads"
    ways = figures["ways"]
    rows = []
    for way, runs in ways.items():
        ratios = [r["seconds"] / b["seconds"] for r, b in zip(runs, ways[base], strict=True)]
        seconds = statistics.median(run["seconds"] for run in runs)
        loss = runs[0]["loss"]
        rows.append([way, f"{seconds:.1f}", f"{statistics.median(ratios):.2f}", f"{loss:.5f}"])
    text = (
        f"`python -m benchmarks.scale` ({figures['machine']}): `{RECIPE}` on speechocean762, "
        f"{figures['utterances']} utterances of each speaker, in float32, without what is random; "
        f"medians of {len(ways[base])} rounds, in which each is trained once.\n\n"
    )
    text += table(["", "seconds of an epoch", "ratio", "loss of the last epoch"], rows)
    text += TRAVEL
    lines = []
    for row in figures["travel"]:
        limit = row["most_ranks"]
        copies = (
            expected_copies(row["ranks"], row["experts"], row["top_k"])
            if limit is None
            else limit * (1 - 1 / row["ranks"])
        )
        frames = 2 * copies * WIDTH * 4
        lines.append(
            [
                str(row["ranks"]),
                str(row["experts"]),
                str(row["top_k"]),
                "none" if limit is None else f"{limit} processes",
                f"{row['forward']:,.0f}",
                f"{row['backward']:,.0f}",
                f"{frames:,.0f}",
            ]
        )
    head = ["processes", "experts", "of a frame", "limit", "forward", "backward", "arithmetic"]
    return text + table(head, lines)


def text() -> str:
    """The page with its section from the kept figures."""
    return results.with_section(PAGE, "training", section(results.read("scale")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and keeps the figures unless it is quick."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="One round of two short epochs.")
    parser.add_argument("--rounds", type=int, default=5, help="0: keeps earlier figures.")
    options = parser.parse_args(arguments)
    rounds, epochs, utterances = (1, 2, 1) if options.quick else (options.rounds, 4, 4)
    prepare_corpus("speechocean762", CORPORA / "speechocean762")
    kept = {} if options.quick else results.read("scale")
    figures: dict[str, Any] = {
        "machine": results.machine(),
        "utterances": utterances,
        "travel": travel(),
        "ways": {way: [] for way in WAYS} if rounds else kept["ways"],
    }
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            order = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
            for way in order:
                measured = train_seconds(way, Path(folder), epochs, utterances)
                figures["ways"][way].append(measured)
                print(f"{number + 1}/{rounds} {way}: {measured}", flush=True)
    if options.quick:
        print(section(figures))
        return
    results.keep("scale", figures)
    write_text(PAGE, text())


if __name__ == "__main__":
    main()
