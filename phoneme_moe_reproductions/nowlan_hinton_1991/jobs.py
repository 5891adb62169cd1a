"""Tables 2 and 4 as jobs: runs on all speakers, and runs tested on unseen speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.nowlan_hinton_1991.systems import (
    CHECK_EVERY,
    SYSTEMS,
    System,
    Task,
    build,
    train,
    wrong_cases,
    wrong_cases_of_chosen,
)
from phoneme_moe_reproductions.nowlan_hinton_1991.tokens import (
    HELD_OUT,
    SIDES,
    TEST,
    TRAIN,
    divide,
    standardised,
    tokens,
)

ITERATIONS = 300
QUICK_ITERATIONS = 60
SPLITS = 20
TRIAL_RUNS = 5
CLUSTERS = 10
SOFTNESS = 0.5
"""Of the weights of clusters, in squared standard deviations of the side input."""

FLOOR = 2e-4
"""Added to each variance, kHz squared: a cluster may have few tokens of a vowel."""


def job_key(name: str, side: str, table: int) -> str:
    """Of the job that trains a system on a side input for a table."""
    return f"{name.replace(', ', '_').replace(' ', '_')}_{side}_table_{table}"


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each system, side input and table, and one for the references."""
    iterations = QUICK_ITERATIONS if quick else ITERATIONS
    splits = min(seeds, SPLITS)
    jobs = []
    for side in SIDES:
        for name, system in SYSTEMS.items():
            for table in system.tables:
                if table == 4 and side == "speaker" and not system.mixture:
                    continue  # a net has no input for an unseen speaker
                runs = splits if table == 4 else seeds
                if system.tables == (2,):
                    runs = min(runs, TRIAL_RUNS)
                settings = {"system": name, "side": side, "table": table, "runs": runs}
                jobs.append(Job(job_key(name, side, table), {**settings, "iterations": iterations}))
    return [*jobs, Job("references", {"system": "references", "runs": splits})]


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Trains a system on all speakers (Table 2), or on splits of them (Table 4)."""
    if settings["system"] == "references":
        return references(settings["runs"])
    system, side = SYSTEMS[settings["system"]], settings["side"]
    task = build(system, side)
    if settings["table"] == 2:
        return on_all_speakers(system, task, side, settings["runs"], settings["iterations"])
    return on_splits(system, task, side, settings["runs"], settings["iterations"])


def on_all_speakers(
    system: System, task: Task, side: str, runs: int, iterations: int
) -> dict[str, Any]:
    """Trains runs of different first weights on all speakers.

    Returns:
        For each run: ``train``, the error in per cent; ``loss``; and, where the gate sees the
        speaker, ``experts``, the one with the largest proportion for each speaker.
    """
    cases = tokens()
    checkpoints, loss = train(system, task, torch.ones(runs, len(cases.vowel)), iterations)
    result: dict[str, Any] = {
        "train": _per_cent(
            wrong_cases(task, checkpoints[-1]), torch.ones(len(cases.vowel))
        ).tolist(),
        "loss": loss.tolist(),
    }
    if system.mixture and side == "speaker":
        with torch.no_grad():
            log_weights, _ = task.shape(checkpoints[-1], task.inputs, task.gate_inputs)
        first = [int((cases.speaker == s).nonzero()[0]) for s in range(len(cases.group))]
        result["experts"] = log_weights[:, first].argmax(dim=-1).tolist()
    return result


def on_splits(system: System, task: Task, side: str, runs: int, iterations: int) -> dict[str, Any]:
    """Trains runs on different speakers and tests each on others.

    The number of iterations is chosen on held-out training speakers, for each split by itself; then
    training begins anew with all of them. Training by L-BFGS always runs to the end.

    Returns:
        For each split: ``test`` and ``train``, errors in per cent after the chosen number of
        ``iterations``, and ``test_end``, that after all of them. With the speaker's identity also
        ``test_known``: as ``test``, with the expert chosen by all tokens of the speaker.
    """
    cases = tokens()
    parts = torch.tensor(np.stack([divide(split, side) for split in range(runs)]))
    counted = torch.ones(parts.shape)
    wrong: Callable[[Task, Tensor], Tensor] = wrong_cases
    if side == "speaker":
        counted[:, cases.enrolment.flatten()] = 0
        wrong = partial(wrong_cases_of_chosen, enrolment=cases.enrolment)
    held_out = (parts == HELD_OUT) * counted
    test = (parts == TEST) * counted
    best = torch.zeros(runs, dtype=torch.long)
    if not system.quasi_newton:
        checkpoints, _ = train(system, task, (parts == TRAIN).float(), iterations)
        errors = [_per_cent(wrong(task, rows), held_out) for rows in checkpoints]
        best = torch.stack(errors).argmin(dim=0)
    checkpoints, _ = train(system, task, (parts != TEST).float(), iterations)
    rows = torch.stack([checkpoints[place][split] for split, place in enumerate(best.tolist())])
    chosen = (best + 1) * (CHECK_EVERY if len(checkpoints) > 1 else iterations)
    result = {
        "iterations": chosen.tolist(),
        "train": _per_cent(wrong_cases(task, rows), (parts != TEST).float()).tolist(),
        "test": _per_cent(wrong(task, rows), test).tolist(),
        "test_end": _per_cent(wrong(task, checkpoints[-1]), test).tolist(),
    }
    if side == "speaker":
        all_tokens = cases.speaker.argsort(stable=True).reshape(len(cases.group), -1)
        by_all_tokens = wrong_cases_of_chosen(task, rows, all_tokens)
        result["test_known"] = _per_cent(by_all_tokens, test).tolist()
    return result


def references(splits: int) -> dict[str, Any]:
    """Test errors in per cent of Gaussians, by side input, as a reference for discrete experts."""
    cases = tokens()
    formants, vowel = cases.formants.double().numpy(), cases.vowel.numpy()
    errors: dict[str, list[float]] = {}
    for side in SIDES:
        if side == "speaker":
            continue
        inputs = None if side == "formants" else standardised(cases.side(side)).double().numpy()
        errors[side] = []
        for split in range(splits):
            part = divide(split, side)
            classes = gaussians_by_speaker(formants, inputs, vowel, part != TEST, CLUSTERS)
            errors[side].append(100 * float((classes != vowel)[part == TEST].mean()))
    return errors


def _per_cent(wrong: Tensor, weights: Tensor) -> Tensor:
    """Of each run; weights have shape (runs, cases) or (cases,)."""
    weights = weights.expand(wrong.shape)
    return 100 * (wrong * weights).sum(dim=1) / weights.sum(dim=1)


def gaussians_by_speaker(
    formants: np.ndarray,
    side_inputs: np.ndarray | None,
    vowel: np.ndarray,
    training: np.ndarray,
    clusters: int,
) -> np.ndarray:
    """A Gaussian for each vowel in each cluster of speakers, blended by nearness to the clusters.

    Args:
        formants: Shape (cases, 2).
        side_inputs: What distinguishes speakers, standardised, shape (cases, inputs); None for one
            Gaussian per vowel.
        vowel: Shape (cases,).
        training: Which cases the Gaussians are fitted to, shape (cases,).
        clusters: Of speakers, by k-means, the best of five starts.

    Returns:
        The likeliest vowel of every case, shape (cases,).
    """
    nearness = np.ones((len(formants), 1))
    if side_inputs is not None:
        known = side_inputs[training]
        centres = [kmeans2(known, clusters, minit="++", seed=seed)[0] for seed in range(5)]
        best = min(centres, key=lambda c: float(_distances(known, c).min(axis=1).sum()))
        distances = _distances(side_inputs, best)
        nearness = np.exp((distances.min(axis=1, keepdims=True) - distances) / SOFTNESS)
    nearness /= nearness.sum(axis=1, keepdims=True)
    blend = sum(
        share[:, None] * _posteriors(formants, vowel, share * training) for share in nearness.T
    )
    classes: np.ndarray = np.argmax(blend, axis=1)
    return classes


def _distances(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.square(values[:, None] - centres).sum(axis=-1)
    return squares


def _posteriors(formants: np.ndarray, vowel: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of equally likely vowels, each a Gaussian fitted to weighted cases; (cases, vowels)."""
    scores = []
    for number in range(vowel.max() + 1):
        of_vowel = weights * (vowel == number) + 1e-12
        mean = np.average(formants, axis=0, weights=of_vowel)
        covariance = np.cov(formants.T, aweights=of_vowel, bias=True) + FLOOR * np.eye(len(mean))
        off = formants - mean
        distance = np.einsum("ci,ij,cj->c", off, np.linalg.inv(covariance), off)
        scores.append(-(distance + np.linalg.slogdet(covariance)[1]) / 2)
    likelihoods = np.exp(np.array(scores) - np.max(scores, axis=0))
    posteriors: np.ndarray = (likelihoods / likelihoods.sum(axis=0)).T
    return posteriors
