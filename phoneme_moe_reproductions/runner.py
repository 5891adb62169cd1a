"""Runs an experiment's jobs in parallel processes and resumes what was interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.locks import lock_folder
from phoneme_moe.files.writing import write_json, write_text
from phoneme_moe.system.cores import usable_cores
from phoneme_moe.system.processes import without_terminal_signals
from phoneme_moe_reproductions import load_experiment
from phoneme_moe_reproductions.experiment import Experiment, Job
from phoneme_moe_reproductions.results import (
    Outcome,
    ReproductionDocument,
    markdown,
    table_csv,
)


@dataclass(frozen=True)
class Reproduction:
    """A finished reproduction.

    Attributes:
        experiment: The experiment.
        seeds: Runs of each system.
        quick: Whether it was the quick form.
        outcome: Tables and claims.
        folder: Folder of all files.
        files: Files for people and programs, without those of the jobs.
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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reproduction:
    """Repeats a published experiment.

    Args:
        name: Of the experiment.
        out: Folder for results; ``reproductions/NAME`` by default. Jobs that an earlier call with
            the same settings finished there are not run again.
        seeds: Runs of each system; the experiment's default when None.
        jobs: Processes of one thread each; one for each usable core when None.
        quick: A form that takes less than a minute and only shows that the experiment runs.
        progress: Called with the number of finished jobs and of all jobs.

    Raises:
        InputError: There is no such experiment, its data is missing, or an argument is wrong.
    """
    experiment = load_experiment(name)
    if seeds is None:
        seeds = experiment.quick_seeds if quick else experiment.seeds
    for argument, value in (("seeds", seeds), ("jobs", jobs)):
        if value is not None and value < 1:
            raise ArgumentError(argument, f"found {value}, expected 1 or more")
    folder = Path(out or Path("reproductions") / (f"{name}-quick" if quick else name))
    if folder.exists() and not folder.is_dir():
        raise ArgumentError("out", f"{folder}: found a file, expected a folder")
    with lock_folder(folder):
        return _reproduce_into(folder, experiment, seeds, jobs, quick, progress)


def _reproduce_into(
    folder: Path,
    experiment: Experiment,
    seeds: int,
    jobs: int | None,
    quick: bool,
    progress: Callable[[int, int], None],
) -> Reproduction:
    """Runs the jobs that have no result yet, and writes the results."""
    plan = experiment.plan(seeds, quick)
    finished = {job.key for job in plan if _result(folder, job) is not None}
    missing = [job for job in plan if job.key not in finished]
    progress(len(finished), len(plan))
    if missing:
        experiment.prepare(quick)
    # Closed, so that no process stays when a signal ends this loop.
    with closing(_run_jobs(experiment, missing, jobs or usable_cores().number)) as results_of_jobs:
        for job, result in results_of_jobs:
            document = {"settings": json_form(job.settings), "result": result}
            write_text(_job_path(folder, job), json.dumps(document) + "\n")
            finished.add(job.key)
            progress(len(finished), len(plan))
    # As read back from the files, so that a resumed reproduction gives the same to the last bit.
    results = {job.key: _result(folder, job) for job in plan}
    outcome = experiment.conclude(results)
    figures = experiment.draw(results, folder)
    files = write_outcome(experiment, outcome, figures, folder, seeds=seeds, quick=quick)
    return Reproduction(experiment, seeds, quick, outcome, folder, tuple(files))


def write_outcome(
    experiment: Experiment,
    outcome: Outcome,
    figures: Sequence[str],
    folder: Path,
    *,
    seeds: int,
    quick: bool,
) -> list[Path]:
    """Writes ``results.json``, a CSV file for each table, and ``results.md``.

    Args:
        experiment: The experiment.
        outcome: Its tables and claims.
        figures: Names of the figures in the folder.
        folder: Where to write.
        seeds: Runs of each system.
        quick: Whether it was the quick form.

    Returns:
        The files, figures included.
    """
    document = ReproductionDocument(
        name=experiment.name,
        **asdict(experiment.description),
        seeds=seeds,
        quick=quick,
        figures=tuple(figures),
        tables=outcome.tables,
        claims=outcome.claims,
    )
    write_json(folder / "results.json", document.model_dump())
    contents = {f"{table.name}.csv": table_csv(table) for table in outcome.tables}
    contents["results.md"] = markdown(document)
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in ("results.json", *contents, *figures)]


def _job_path(folder: Path, job: Job) -> Path:
    return folder / "jobs" / f"{job.key}.json"


def _result(folder: Path, job: Job) -> Any:
    """Result of a job that was run with the same settings; None if there is none."""
    try:
        document = json.loads(_job_path(folder, job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("result") if document.get("settings") == json_form(job.settings) else None


def json_form(settings: Mapping[str, Any]) -> Any:
    """Settings as JSON gives them back (lists for tuples)."""
    return json.loads(json.dumps(settings))


def _run_jobs(
    experiment: Experiment, missing: list[Job], processes: int
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    """Yields each job with its result as soon as it is done."""
    processes = min(processes, len(missing))
    if processes <= 1:
        for job in missing:
            yield job, experiment.run(job.settings)
        return
    context = multiprocessing.get_context("spawn")
    with without_terminal_signals():
        pool = ProcessPoolExecutor(processes, context, _begin_worker)
    try:
        with without_terminal_signals():
            futures = {pool.submit(_run_job, experiment.name, dict(j.settings)): j for j in missing}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        # Ctrl-C, or a job that failed: the others end too.
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run_job(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return load_experiment(name).run(settings)


def _begin_worker() -> None:
    """One thread for arithmetic; the worker ends when its parent is killed."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()
