"""Mixtures and nets on four vowels: data, gradient descent, jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phoneme_moe.mixture.combination import weighted_sum
from phoneme_moe.mixture.objectives import OBJECTIVES
from phoneme_moe_reproductions.experiment import Job
from phoneme_moe_reproductions.perceptrons import Perceptron, PerceptronMixture
from phoneme_moe_reproductions.vowels import VOWELS, peterson_barney

DROPPED_SPEAKER = 33
TRAINING_SPEAKERS = 50
STOP_AT = 0.08
INITIAL_RANGES = (0.5, 0.1)
"""Weights begin uniform between plus and minus this: the usual one, and a small one."""

STEP_SIZES = (3.0, 5.0, 10.0, 20.0, 30.0, 50.0)
QUICK_STEP_SIZE = 20.0
SEARCH_RUNS = 10
MAX_EPOCHS = 6000
IN_USE = 0.1
"""An expert is in use if its proportion exceeds this in some training case."""

SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "4 experts": {"experts": 4, "objective": "competitive"},
    "8 experts": {"experts": 8, "objective": "competitive"},
    "BP 6 hidden": {"hidden": 6},
    "BP 12 hidden": {"hidden": 12},
    "4 experts, eq. 2": {"experts": 4, "objective": "expected"},
    "4 experts, eq. 1": {"experts": 4, "objective": "blend"},
}


def four_vowels() -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """The cases of the experiment.

    Returns:
        F1 and F2 in kHz, shape (cases, 2); targets, shape (cases, 1), 1 for [I] and [^] and 0 for
        [i] and [a]; which cases are for training, shape (cases,); vowel of each, shape (cases,).
    """
    vowels = peterson_barney()
    chosen = np.isin(vowels.vowel, [VOWELS.index(v) for v in ("iy", "ih", "aa", "ah")])
    vowels = vowels.where(chosen & (vowels.speaker != DROPPED_SPEAKER))
    first = np.unique(vowels.speaker)[:TRAINING_SPEAKERS]
    positive = np.isin(vowels.vowel, [VOWELS.index("ih"), VOWELS.index("ah")])
    formants = torch.tensor(vowels.formants[:, 1:3], dtype=torch.float32)
    targets = torch.tensor(positive, dtype=torch.float32)[:, None]
    return formants, targets, np.isin(vowels.speaker, first), vowels.vowel


TABLE_1 = ("4 experts", "8 experts", "BP 6 hidden", "BP 12 hidden")
"""Systems of the published table; these also begin with small weights."""


def build(
    system: Mapping[str, Any], runs: int, seed: int, initial_range: float = INITIAL_RANGES[0]
) -> nn.Module:
    """Fresh copies of a system, one for each run, weights uniform in plus and minus a range."""
    torch.manual_seed(seed)
    network = (
        PerceptronMixture(runs, system["experts"], 2, 1)
        if "experts" in system
        else Perceptron(runs, (2, system["hidden"], 1))
    )
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -initial_range, initial_range)
    return network


def forward(network: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Blend, log proportions and experts' outputs; a single net is a mixture of one.

    Returns:
        Shapes (runs, cases, 1), (runs, cases, experts) and (runs, cases, experts, 1).
    """
    if isinstance(network, PerceptronMixture):
        log_weights, scores = network(inputs)
    else:
        scores = network(inputs)[:, :, None]
        log_weights = torch.zeros(scores.shape[:3])
    outputs = torch.sigmoid(scores)
    return weighted_sum(log_weights, outputs), log_weights, outputs


def gradient_descent(
    network: nn.Module, objective: str, step_size: float, max_epochs: int
) -> list[dict[str, Any] | None]:
    """Full-batch gradient descent, all runs at once, each until its average error is 0.08.

    Args:
        network: Fresh copies.
        objective: A name of ``mixture.objectives.OBJECTIVES``.
        step_size: The same throughout; no momentum.
        max_epochs: After these a run counts as failed.

    Returns:
        For each run its figures when it stopped; None where it did not reach that error.
    """
    inputs, targets, training, _ = four_vowels()
    train_inputs, train_targets = inputs[training], targets[training]
    parameters = list(network.parameters())
    loss_of = OBJECTIVES[objective]
    stopped: list[dict[str, Any] | None] = []
    for epoch in range(1, max_epochs + 1):
        blend, log_weights, outputs = forward(network, train_inputs)
        errors = (blend.detach() - train_targets).square().mean(dim=(1, 2))
        if not stopped:
            stopped = [None] * len(errors)
        converged = (errors <= STOP_AT).nonzero()[:, 0].tolist()
        converged = [run for run in converged if not stopped[run]]
        if converged:
            with torch.no_grad():
                right = (forward(network, inputs)[0] > 0.5) == (targets > 0.5)
            proportions = log_weights.detach().exp()
            for run in converged:
                correct = right[run, :, 0].numpy()
                of_run = proportions[run]
                entropy = -torch.special.xlogy(of_run, of_run).sum(dim=-1)
                stopped[run] = {
                    "epochs": epoch,
                    "train": 100 * float(correct[training].mean()),
                    "test": 100 * float(correct[~training].mean()),
                    "in_use": int((of_run.amax(dim=0) > IN_USE).sum()),
                    "per_case": float(entropy.exp().mean()),
                    "weights": {
                        name: _parameters_of(parameter, run, len(stopped))
                        for name, parameter in network.named_parameters()
                    },
                }
        if all(stopped) or not bool(errors.isfinite().all()):
            break
        loss = loss_of(log_weights, outputs, train_targets).mean(dim=1)
        gradients = torch.autograd.grad(loss.sum(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(step_size * gradient)
    return stopped


def _parameters_of(parameter: Tensor, run: int, runs: int) -> list[Any]:
    """One run's part of a parameter, where the experts of a run lie side by side."""
    part: list[Any] = parameter.detach().view(runs, -1, *parameter.shape[1:])[run].tolist()
    return part


def plan(seeds: int, quick: bool) -> list[Job]:
    """One job for each system and range of initial weights; its runs are trained side by side."""
    return [
        Job(
            job_key(name, initial_range),
            {
                "system": name,
                "initial_range": initial_range,
                "seeds": seeds,
                "step_sizes": [QUICK_STEP_SIZE] if quick else STEP_SIZES,
                "longest": MAX_EPOCHS // 4 if quick else MAX_EPOCHS,
            },
        )
        for initial_range in INITIAL_RANGES
        for name in SYSTEMS
        if initial_range == INITIAL_RANGES[0] or name in TABLE_1
    ]


def job_key(name: str, initial_range: float) -> str:
    """Key of the job of a system and range of initial weights."""
    plain = name.replace(" ", "_").replace(",", "").replace(".", "")
    return plain if initial_range == INITIAL_RANGES[0] else f"{plain}_from_{initial_range:g}"


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Chooses a step size by a limited search, then trains all runs with it."""
    system, initial_range = SYSTEMS[settings["system"]], settings["initial_range"]
    objective = system.get("objective", "blend")
    sizes, max_epochs = settings["step_sizes"], settings["longest"]
    search: dict[float, dict[str, float]] = {}
    for size in sizes if len(sizes) > 1 else ():
        fresh = build(system, min(SEARCH_RUNS, settings["seeds"]), 0, initial_range)
        runs = gradient_descent(fresh, objective, size, max_epochs)
        search[size] = {
            "epochs": float(np.mean([r["epochs"] if r else max_epochs for r in runs])),
            "arrived": sum(r is not None for r in runs),
        }
    best = min(search, key=lambda s: (-search[s]["arrived"], search[s]["epochs"]), default=sizes[0])
    fresh = build(system, settings["seeds"], 1, initial_range)
    return {
        "step_size": best,
        "longest": max_epochs,
        "search": {str(size): entry for size, entry in search.items()},
        "runs": gradient_descent(fresh, objective, best, max_epochs),
    }
