"""Training hierarchical mixtures: expectation maximisation, and gradient ascent.

The E-step computes the posterior of each expert for each case, the M-step fits every expert and
every gate alone to its share: each is a multinomial logit with soft targets, fitted by iteratively
reweighted least squares (IRLS, which for these is Newton's method; Jordan & Jacobs 1994, section 4
and appendix A).

Legend: N logits side by side, C cases, F inputs and a constant 1, K categories; L leaves, G gates,
B branches.
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
holds back directions that no case determines (the common shift of all categories, logits
without cases) and does not change where the maximum is."""


@torch.no_grad()
def em_step(
    mixture: HierarchicalMixture,
    inputs: Tensor,
    classes: Tensor,
    decay: float = 0.0,
    irls_steps: int = 1,
) -> float:
    """One iteration of EM on all cases, in place.

    The M-step need not be finished for the likelihood to rise (generalised EM): no part of it ever
    fits its share of the cases worse than before, so the likelihood of the training cases never
    falls, but for rounding. Use float64.

    Args:
        mixture: Trained in place.
        inputs: Shape (cases, inputs), of order 1.
        classes: The right class of each case, shape (cases,).
        decay: Precision of a Gaussian prior around 0 on all weights, biases too; what never
            falls is then the log likelihood less ``decay / 2`` times the squared weights.
        irls_steps: IRLS steps within the M-step.

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
    """A step of IRLS for many weighted multinomial logits at once.

    Maximises ``sum_ck targets_ck log p_ck``: a case's weight and its target distribution in one,
    as an expert's h_ij times its class, or a gate's h_i h_{j|i}. A logit whose fit would become
    worse takes half of its step, and half again, and none after ``MOST_HALVINGS``.

    Args:
        weights: Shape (logits, inputs + 1, categories).
        design: Cases with their constant, shape (cases, inputs + 1).
        targets: 0 or more, shape (logits, cases, categories); a sum of 0 leaves a case out.
        decay: Precision of a Gaussian prior around 0; ``decay / 2`` times the squared weights is
            taken from what is maximised.
        exists: Which categories there are, shape (logits, categories); all when None.

    Returns:
        New weights.
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
    # The information of all scores is the sum over cases of mass * (diag(p) - p p^T), times x x^T.
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
        # Not "less than": a step that is not a number has failed too.
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
    """One step up the gradient of the log likelihood of all cases.

    Args:
        mixture: Trained in place.
        optimizer: Of its parameters.
        inputs: Shape (cases, inputs).
        classes: Shape (cases,).

    Returns:
        Log likelihood per case in nats, before the step.
    """
    log_likelihood = mixture.log_likelihood(inputs, classes).mean()
    optimizer.zero_grad()
    torch.autograd.backward(-log_likelihood)
    optimizer.step()
    return float(log_likelihood.detach())
