"""Runs an experiment's jobs in parallel processes, and takes up where an earlier try stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from phoneme_moe.errors import ArgumentError
from phoneme_moe.files import write_text
from phoneme_moe.reproductions.experiment import Experiment, Job, Outcome
from phoneme_moe.reproductions.files import write_outcome
from phoneme_moe.reproductions.registry import load_experiment


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction leaves.

    Attributes:
        experiment: What was done again.
        seeds: Runs of each system.
        quick: Whether it was the quick form.
        outcome: Tables and claims.
        folder: Where everything is.
        files: What was written for people and programs, jobs left aside.
    """

    experiment: Experiment
    seeds: int
    quick: bool
    outcome: Outcome
    folder: Path
    files: tuple[Path, ...]


def reproduce(
    name: str,
    out: str | Path | None = None,
    *,
    seeds: int | None = None,
    jobs: int | None = None,
    quick: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Does a published experiment again.

    Args:
        name: Of the experiment.
        out: Folder for results; ``reproductions/NAME`` when left out. What an earlier try of the
            same settings finished there is not done again.
        seeds: Runs of each system; the experiment's own number when left out.
        jobs: Processes of one thread each; one for each processor when left out.
        quick: A form that takes less than a minute, to see that it runs.
        progress: Told how many jobs are done, and of how many.

    Raises:
        InputError: There is no such experiment, or its data is not there.
    """
    experiment = load_experiment(name)
    if seeds is None:
        seeds = experiment.quick_seeds if quick else experiment.seeds
    if seeds < 1:
        raise ArgumentError("seeds", f"found {seeds}, expected 1 or more")
    if jobs is not None and jobs < 1:
        raise ArgumentError("jobs", f"found {jobs}, expected 1 or more")
    folder = Path(out) if out is not None else Path("reproductions") / _folder_name(name, quick)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError("out", f"{folder}: found a file, expected a folder")
    plan = experiment.plan(seeds, quick)
    results = {job.key: result for job in plan if (result := _finished(folder, job)) is not None}
    missing = [job for job in plan if job.key not in results]
    tell = progress or (lambda done, total: None)
    tell(len(results), len(plan))
    if missing:
        experiment.prepare(quick)
    for job, result in _do(experiment, missing, jobs or os.cpu_count() or 1):
        _keep(folder, job, result)
        results[job.key] = result
        tell(len(results), len(plan))
    # As read back from the files, so that a resumed reproduction gives the same to the last bit.
    results = {job.key: _finished(folder, job) for job in plan}
    outcome = experiment.conclude(results)
    figures = experiment.draw(results, folder)
    files = write_outcome(experiment, outcome, figures, folder, seeds=seeds, quick=quick)
    return Reproduction(experiment, seeds, quick, outcome, folder, tuple(files))


def _folder_name(name: str, quick: bool) -> str:
    return f"{name}-quick" if quick else name


def _job_path(folder: Path, job: Job) -> Path:
    return folder / "jobs" / f"{job.key}.json"


def _finished(folder: Path, job: Job) -> Any:
    """What a job gave, if it was done with the same settings."""
    try:
        kept = json.loads(_job_path(folder, job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept.get("result") if kept.get("settings") == json_form(job.settings) else None


def _keep(folder: Path, job: Job, result: Mapping[str, Any]) -> None:
    kept = {"settings": json_form(job.settings), "result": result}
    write_text(_job_path(folder, job), json.dumps(kept) + "\n")


def json_form(settings: Mapping[str, Any]) -> Any:
    """Settings as JSON gives them back (lists for tuples)."""
    return json.loads(json.dumps(settings))


def _do(experiment: Experiment, missing: list[Job], processes: int) -> Any:
    """Yields each job with its result as it is done."""
    processes = min(processes, len(missing))
    if processes <= 1:
        for job in missing:
            yield job, experiment.run(job.settings)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin_worker) as pool:
        futures = {pool.submit(_work, experiment.name, dict(j.settings)): j for j in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            # Ctrl-C, or a job that failed: what has not begun is not begun.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _work(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return load_experiment(name).run(settings)


def _begin_worker() -> None:
    """One thread for arithmetic, and no life after the parent's: a killed parent cannot tell us."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
