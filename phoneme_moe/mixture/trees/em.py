"""Training of hierarchical mixtures by expectation maximisation (EM) or gradient ascent.

The E-step computes the posterior of each expert for each case. The M-step fits every expert and
gate separately: each is a multinomial logit with soft targets, fitted by iteratively reweighted
least squares (IRLS, here equal to Newton's method; Jordan & Jacobs 1994, section 4 and appendix A).

Legend: N logits in a batch, C cases, F inputs and a constant 1, K categories; L leaves, G gates, B
branches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.mixture.trees.hierarchy import (
    HierarchicalMixture,
    branch_posteriors,
    log_softmax_scores,
    with_constant,
)

MOST_HALVINGS = 20

DAMPING = 1e-3
"""Added to the diagonal of the information matrix, in units of cases, for inputs of order 1. It
limits steps in directions that the cases do not determine (a common shift of all categories, logits
without cases) and does not move the maximum."""


@torch.no_grad()
def em_step(
    mixture: HierarchicalMixture,
    inputs: Tensor,
    classes: Tensor,
    decay: float = 0.0,
    irls_steps: int = 1,
) -> float:
    """Performs one iteration of EM on all cases, in place.

    The M-step need not converge for the likelihood to increase (generalised EM): no expert or gate
    ever fits its share of the cases worse than before, so the likelihood of the training cases
    never decreases, except by rounding. Use float64.

    Args:
        mixture: The mixture, changed in place.
        inputs: Inputs of order 1, shape (cases, inputs).
        classes: Class of each case, shape (cases,).
        decay: Precision of a zero-mean Gaussian prior on all weights and biases; the log likelihood
            is then penalised by ``decay / 2`` times the squared weights.
        irls_steps: Number of IRLS steps in the M-step.

    Returns:
        Log likelihood per case in nats, before the step.
    """
    joint = mixture.log_joint(inputs, classes)
    posteriors = joint.softmax(dim=-1)  # (C, L)
    design = with_constant(inputs)
    right = functional.one_hot(classes, mixture.experts.shape[-1]).to(inputs.dtype)
    for_experts = posteriors.T[..., None] * right  # (L, C, K)
    for_gates = branch_posteriors(posteriors, mixture.paths).transpose(0, 1)  # (G, C, B)
    for _ in range(irls_steps):
        mixture.experts.copy_(irls_step(mixture.experts, design, for_experts, decay))
        mixture.gates.copy_(irls_step(mixture.gates, design, for_gates, decay, mixture.branches))
    return float(joint.logsumexp(dim=-1).mean())


def irls_step(
    weights: Tensor,
    design: Tensor,
    targets: Tensor,
    decay: float = 0.0,
    exists: Tensor | None = None,
) -> Tensor:
    """Performs an IRLS step for a batch of weighted multinomial logits.

    Maximises ``sum_ck targets_ck log p_ck``. The targets combine the weight and the target
    distribution of a case: h_ij times the class for an expert, h_i h_{j|i} for a gate. If a step
    would worsen the fit of a logit, it is halved up to ``MOST_HALVINGS`` times and then dropped.

    Args:
        weights: Shape (logits, inputs + 1, categories).
        design: Inputs with a constant 1, shape (cases, inputs + 1).
        targets: Weighted targets, 0 or more, shape (logits, cases, categories); all 0 for ignored
            cases.
        decay: Precision of a zero-mean Gaussian prior on the weights.
        exists: Which categories exist, shape (logits, categories); all by default.

    Returns:
        The new weights.
    """

    def fit(trial: Tensor) -> Tensor:
        likelihood = (targets * log_softmax_scores(trial, design, exists)).sum(dim=(1, 2))
        return likelihood - decay / 2 * trial.square().sum(dim=(1, 2))

    probabilities = log_softmax_scores(weights, design, exists).exp()
    if exists is not None:
        probabilities = probabilities * exists[:, None]
    mass = targets.sum(dim=-1, keepdim=True)  # (N, C, 1)
    gradient = (targets - mass * probabilities).transpose(1, 2) @ design  # (N, K, F)
    gradient = gradient - decay * weights.transpose(1, 2)
    # The information matrix of the scores is the sum over cases of mass * (diag(p) - p p^T), times
    # x x^T.
    num_logits, num_categories, num_inputs = gradient.shape
    size = num_categories * num_inputs
    squares = (design[:, :, None] * design[:, None]).flatten(1)  # (C, F * F)
    diagonal = (mass * probabilities).transpose(1, 2) @ squares  # (N, K, F * F)
    scaled = (mass.sqrt() * probabilities)[..., None] * design[:, None]  # (N, C, K, F)
    scaled = scaled.flatten(2)
    information = (scaled.transpose(1, 2) @ scaled).neg_()  # (N, K * F, K * F)
    blocks = information.view(num_logits, num_categories, num_inputs, num_categories, num_inputs)
    blocks.diagonal(dim1=1, dim2=3).add_(
        diagonal.view(num_logits, num_categories, num_inputs, num_inputs).permute(0, 2, 3, 1)
    )
    information.diagonal(dim1=1, dim2=2).add_(DAMPING + decay)
    step = torch.linalg.solve(information, gradient.reshape(num_logits, size, 1))
    step = step.view(gradient.shape).transpose(1, 2)  # (N, F, K)

    before, length = fit(weights), torch.ones_like(weights[:, :1, :1])
    for _ in range(MOST_HALVINGS):
        trial: Tensor = weights + length * step
        # Negated, so that NaN counts as worse.
        worse = ~(fit(trial) >= before)[:, None, None]
        if not worse.any():
            return trial
        length = torch.where(worse, length / 2, length)
    return torch.where(worse, weights, trial)


def gradient_step(
    mixture: HierarchicalMixture,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    classes: Tensor,
) -> float:
    """Performs one step of gradient ascent on the log likelihood of all cases.

    Args:
        mixture: The mixture, changed in place.
        optimizer: Optimiser of its parameters.
        inputs: Shape (cases, inputs).
        classes: Class of each case, shape (cases,).

    Returns:
        Log likelihood per case in nats, before the step.
    """
    log_likelihood = mixture.log_likelihood(inputs, classes).mean()
    optimizer.zero_grad()
    torch.autograd.backward(-log_likelihood)
    optimizer.step()
    return float(log_likelihood.detach())
