"""Mixtures and nets on ten vowels: networks, sizes, training, errors.

A run is one row of a matrix of parameters, as ``reproductions.optimizers`` expects. Cases come last
in memory, so that operations on each of them run along contiguous numbers: four times as fast here
as with units last.

Legend: R runs, C cases, E experts, D outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from phoneme_moe.mixture.combination import weighted_sum
from phoneme_moe.mixture.objectives import competitive_error
from phoneme_moe_reproductions.nowlan_hinton_1991.tokens import standardised, tokens
from phoneme_moe_reproductions.optimizers import lbfgs, rprop

INITIAL_RANGE = 0.5
SIGMA = 0.25
STAGES = ((1.0, 0.5), (0.5, 0.25), (SIGMA, 0.25))
"""Sigma, and the share of the iterations for which it holds."""

CHECK_EVERY = 10

EXPERTS = {"formants": 20}
EXPERT_HIDDEN = {"formants": 5}
GATE_HIDDEN = {"formants": (10,), "both": (5,), "range": (5,)}
NET_HIDDEN = {"formants": 50, "speaker": 150, "mean": 60, "range": 150, "both": 80}
"""By side input; the others have 10 experts, 25 hidden units of each and none in the gate."""


@dataclass(frozen=True)
class MixtureShape:
    """Experts of one shape and a gate; one expert without a gate is a plain net.

    Attributes:
        experts: How many.
        expert_sizes: Inputs, hidden units of each layer, outputs, of every expert.
        gate_sizes: The same of the gate, which has an output for each expert.
    """

    experts: int
    expert_sizes: tuple[int, ...]
    gate_sizes: tuple[int, ...] = ()

    @property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """Copies, inputs with the bias, outputs of every layer; the experts' first."""
        return [
            (copies, before + 1, after)
            for copies, sizes in ((self.experts, self.expert_sizes), (1, self.gate_sizes))
            for before, after in pairwise(sizes)
        ]

    def initial(self, runs: int, seed: int) -> Tensor:
        """Weights and biases uniform in +-0.5, the gate's last layer 0: all experts are equal.

        Returns:
            Shape (runs, parameters).
        """
        generator = torch.Generator().manual_seed(seed)
        size = sum(copies * before * after for copies, before, after in self._blocks)
        rows = torch.rand(runs, size, generator=generator) * 2 * INITIAL_RANGE - INITIAL_RANGE
        if self.gate_sizes:
            rows[:, -(self.gate_sizes[-2] + 1) * self.gate_sizes[-1] :] = 0
        return rows

    def __call__(
        self, rows: Tensor, inputs: Tensor, gate_inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Proportions and outputs.

        Args:
            rows: Shape (runs, parameters).
            inputs: Of the experts, shape (cases, inputs).
            gate_inputs: Of the gate, shape (cases, gate inputs).

        Returns:
            Logarithms of the gate's proportions, shape (runs, cases, experts), and the experts'
            outputs, each a softmax, shape (runs, cases, experts, outputs).
        """
        parts = iter(torch.split(rows, [c * b * a for c, b, a in self._blocks], dim=1))
        outputs = self._layers(parts, self.experts, self.expert_sizes, inputs)
        outputs = outputs.softmax(dim=1)
        outputs = outputs.reshape(len(rows), self.experts, *outputs.shape[1:])  # (R, E, D, C)
        if gate_inputs is None:
            log_weights = outputs.new_zeros(len(rows), len(inputs), 1)
        else:
            gate = self._layers(parts, 1, self.gate_sizes, gate_inputs)  # (R, E, C)
            log_weights = gate.log_softmax(dim=1).transpose(1, 2)
        return log_weights, outputs.permute(0, 3, 1, 2)

    @staticmethod
    def _layers(
        parts: Iterator[Tensor], copies: int, sizes: tuple[int, ...], inputs: Tensor
    ) -> Tensor:
        """Sigmoid layers, the last one linear; shape (runs * copies, outputs, cases)."""
        values = inputs.T
        for number, (before, after) in enumerate(pairwise(sizes)):
            layer = next(parts).reshape(-1, after, before + 1)
            values = torch.sigmoid(values) if number else values.expand(len(layer), -1, -1)
            values = torch.baddbmm(layer[:, :, :1], layer[:, :, 1:], values)
        return values


@dataclass(frozen=True)
class System:
    """A system and its training.

    Attributes:
        mixture: Experts behind a gate; else one net with formants and side input as inputs.
        in_khz: Inputs in kHz; else standardised.
        stages: Sigma, and the share of the iterations for which it holds.
        quasi_newton: By L-BFGS; else by Rprop.
        tables: Numbers of the tables with this system.
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
    """A system with its inputs of every case.

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
    inputs, side_inputs = cases.formants, cases.side(side)
    if not system.in_khz:
        inputs = standardised(inputs)
        side_inputs = side_inputs if side == "speaker" else standardised(side_inputs)
    outputs = cases.targets.shape[1]
    if system.mixture:
        experts = EXPERTS.get(side, 10)
        expert_sizes = (inputs.shape[1], EXPERT_HIDDEN.get(side, 25), outputs)
        gate_sizes = (side_inputs.shape[1], *GATE_HIDDEN.get(side, ()), experts)
        return Task(MixtureShape(experts, expert_sizes, gate_sizes), inputs, side_inputs)
    if side != "formants":
        inputs = torch.cat([inputs, side_inputs], dim=1)
    sizes = (inputs.shape[1], NET_HIDDEN[side], outputs)
    return Task(MixtureShape(1, sizes), inputs, None)


def wrong_cases(task: Task, rows: Tensor) -> Tensor:
    """Whether the blend's largest output is another vowel's, shape (runs, cases)."""
    with torch.no_grad():
        blend = weighted_sum(*task.shape(rows, task.inputs, task.gate_inputs))
    return blend.argmax(dim=-1) != tokens().vowel


def wrong_cases_of_chosen(task: Task, rows: Tensor, enrolment: Tensor) -> Tensor:
    """The same with one expert per speaker: the nearest to the targets of the enrolment cases.

    Args:
        task: A mixture.
        rows: Its parameters, shape (runs, parameters).
        enrolment: Cases of each speaker, shape (speakers, cases of a speaker).
    """
    cases = tokens()
    with torch.no_grad():
        _, outputs = task.shape(rows, task.inputs, task.gate_inputs)
    targets = cases.targets[enrolment]  # (speakers, cases of a speaker, vowels)
    distances = (outputs[:, enrolment] - targets[:, :, None]).square().sum(dim=(2, 4))
    expert = distances.argmin(dim=-1)[:, cases.speaker]  # (R, C)
    vowel = outputs.argmax(dim=-1).gather(2, expert[..., None])[..., 0]
    return vowel != cases.vowel


def train(
    system: System, task: Task, weights: Tensor, iterations: int
) -> tuple[list[Tensor], Tensor]:
    """Trains runs side by side.

    Args:
        system: The system.
        task: Its networks and inputs.
        weights: Of each case in each run, 0 if not for training; shape (runs, cases).
        iterations: Evaluations of the loss.

    Returns:
        The parameters after every ``CHECK_EVERY`` iterations (of L-BFGS: at the end only), each of
        shape (runs, parameters), and the last loss, shape (runs,).
    """
    shares = weights / weights.sum(dim=1, keepdim=True)
    rows = task.shape.initial(len(weights), seed=0)
    if system.quasi_newton:
        end = lbfgs(partial(task.losses, weights=shares, sigma=SIGMA), rows, iterations)
        return [end.parameters], end.loss
    checkpoints: list[Tensor] = []
    step = 0

    def watch(parameters: Tensor) -> None:
        nonlocal step
        step += 1
        if step % CHECK_EVERY == 0:
            checkpoints.append(parameters.clone())

    for sigma, share in system.stages:
        loss = partial(task.losses, weights=shares, sigma=sigma)
        rows = rprop(loss, rows, round(share * iterations), watch)
    with torch.no_grad():
        return checkpoints, task.losses(rows, shares, system.stages[-1][0])
