"""Mixtures and nets on ten vowels: their sizes, their training, their mistakes.

Legend: R runs, C cases, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from phoneme_moe.mixture.combination import weighted_sum
from phoneme_moe.mixture.objectives import competitive_error
from phoneme_moe.reproductions.nowlan_hinton_1991.networks import MixtureShape
from phoneme_moe.reproductions.nowlan_hinton_1991.tokens import standardised, tokens
from phoneme_moe.reproductions.optimizers import lbfgs, rprop

SIGMA = 0.25
STAGES = ((1.0, 0.5), (0.5, 0.25), (SIGMA, 0.25))
"""Sigma, and the share of the iterations for which it holds."""

LOOK_EVERY = 10

EXPERTS = {"formants": 20}
EXPERT_HIDDEN = {"formants": 5}
GATE_HIDDEN = {"formants": (10,), "both": (5,), "range": (5,)}
NET_HIDDEN = {"formants": 50, "speaker": 150, "mean": 60, "range": 150, "both": 80}
"""By side input; the others have 10 experts, 25 hidden units of each and none in the gate."""


@dataclass(frozen=True)
class System:
    """A way to train.

    Attributes:
        mixture: Experts behind a gate; else one net that sees formants and side input alike.
        in_khz: Inputs as they are; else standardised.
        stages: Sigma, and the share of the iterations for which it holds.
        quasi_newton: By L-BFGS; else by Rprop.
        tables: In which it is.
    """

    mixture: bool
    in_khz: bool = False
    stages: tuple[tuple[float, float], ...] = STAGES
    quasi_newton: bool = False
    tables: tuple[int, ...] = (2, 4)


SYSTEMS = {
    "mixture": System(True),
    "net": System(False),
    "net, 1991": System(False, in_khz=True, stages=((SIGMA, 1.0),), quasi_newton=True),
    "mixture, one sigma": System(True, stages=((SIGMA, 1.0),), tables=(2,)),
    "mixture, kHz": System(True, in_khz=True, tables=(2,)),
}


@dataclass(frozen=True, eq=False)
class Task:
    """A system with what it sees of every case.

    Attributes:
        shape: Of its networks.
        inputs: Of experts, shape (cases, inputs).
        gate_inputs: Shape (cases, gate inputs); None for a net.
    """

    shape: MixtureShape
    inputs: Tensor
    gate_inputs: Tensor | None

    def losses(self, rows: Tensor, weights: Tensor, sigma: float) -> Tensor:
        """Weighted mean error of each run, shape (runs,); weights have shape (runs, cases)."""
        log_weights, outputs = self.shape(rows, self.inputs, self.gate_inputs)
        return (competitive_error(log_weights, outputs, tokens().targets, sigma) * weights).sum(1)


def build(system: System, side: str) -> Task:
    """Networks of the paper's sizes for a side input."""
    cases = tokens()
    inputs, shown = cases.formants, cases.side(side)
    if not system.in_khz:
        inputs = standardised(inputs)
        shown = shown if side == "speaker" else standardised(shown)
    outputs = cases.targets.shape[1]
    if system.mixture:
        experts = EXPERTS.get(side, 10)
        expert_sizes = (inputs.shape[1], EXPERT_HIDDEN.get(side, 25), outputs)
        gate_sizes = (shown.shape[1], *GATE_HIDDEN.get(side, ()), experts)
        return Task(MixtureShape(experts, expert_sizes, gate_sizes), inputs, shown)
    if side != "formants":
        inputs = torch.cat([inputs, shown], dim=1)
    sizes = (inputs.shape[1], NET_HIDDEN[side], outputs)
    return Task(MixtureShape(1, sizes), inputs, None)


def mistakes(task: Task, rows: Tensor) -> Tensor:
    """Cases in which another vowel has the largest output of the blend, shape (runs, cases)."""
    with torch.no_grad():
        blend = weighted_sum(*task.shape(rows, task.inputs, task.gate_inputs))
    return blend.argmax(dim=-1) != tokens().vowel


def mistakes_of_chosen(task: Task, rows: Tensor, known_by: Tensor) -> Tensor:
    """The same by one expert for each speaker: the nearest to the targets of some of his cases.

    Args:
        task: A mixture.
        rows: Its parameters, shape (runs, parameters).
        known_by: These cases of each speaker, shape (speakers, cases of a speaker).
    """
    cases = tokens()
    with torch.no_grad():
        _, outputs = task.shape(rows, task.inputs, task.gate_inputs)
    wanted = cases.targets[known_by]  # (speakers, cases of a speaker, vowels)
    distances = (outputs[:, known_by] - wanted[:, :, None]).square().sum(dim=(2, 4))
    choice = distances.argmin(dim=-1)[:, cases.speaker]  # (R, C)
    said = outputs.argmax(dim=-1).gather(2, choice[..., None])[..., 0]
    return said != cases.vowel


def train(
    system: System, task: Task, weights: Tensor, iterations: int
) -> tuple[list[Tensor], Tensor]:
    """Trains runs side by side.

    Args:
        system: How.
        task: Of that system.
        weights: Of each case in each run, 0 where it is not for training; shape (runs, cases).
        iterations: Evaluations of the loss.

    Returns:
        The parameters after every ``LOOK_EVERY`` iterations (of L-BFGS: at the end only), each of
        shape (runs, parameters), and the last loss, shape (runs,).
    """
    shares = weights / weights.sum(dim=1, keepdim=True)
    rows = task.shape.initial(len(weights), seed=0)
    if system.quasi_newton:
        end = lbfgs(partial(task.losses, weights=shares, sigma=SIGMA), rows, iterations)
        return [end.parameters], end.loss
    seen: list[Tensor] = []
    done = 0

    def watch(parameters: Tensor) -> None:
        nonlocal done
        done += 1
        if done % LOOK_EVERY == 0:
            seen.append(parameters.clone())

    for sigma, share in system.stages:
        loss = partial(task.losses, weights=shares, sigma=sigma)
        rows = rprop(loss, rows, round(share * iterations), watch)
    with torch.no_grad():
        return seen, task.losses(rows, shares, system.stages[-1][0])
