"""Training objectives: phoneme losses and speaker identification.

A Meta-Pi gate is trained through the mixture of the experts' probabilities (Hampshire & Waibel
1989), never on speaker labels. A stage sets what is blended (``blend``): the experts' posteriors in
every frame, or their probabilities of the whole utterance. For tokens, which have one frame, the
two are the same. Alternatively a gate is trained on speaker identification (SID, the paper's
baseline), and token classifiers on the paper's other two objectives, MSE and CFM. Means are over
the batch of all processes that train together.

Legend: B batch, T frames (1 for a token), E experts, P outputs.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from phoneme_moe.data.batches import Batch
from phoneme_moe.decoding.ctc_crf import Trigram, log_partition
from phoneme_moe.decoding.phonemes import BLANK
from phoneme_moe.mixture.routing import Routing
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.recipe import Stage
from phoneme_moe.system.ranks import global_mean
from phoneme_moe.training.token_objectives import NET_OBJECTIVES


def token_log_probability(
    log_posteriors: Tensor, num_frames: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """Log probability of each token's phoneme, shape (batch,).

    Args:
        log_posteriors: Log posteriors, shape (batch, 1, outputs).
        num_frames: Number of frames, 1 for each token, shape (batch,).
        targets: Output index of the phoneme, shape (batch, 1).
        target_lengths: Number of phonemes, 1 for each token, shape (batch,).
    """
    return log_posteriors[:, 0].gather(-1, targets[:, :1])[:, 0]


def sequence_log_probability(
    log_posteriors: Tensor, num_frames: Tensor, targets: Tensor, target_lengths: Tensor
) -> Tensor:
    """Log probability of each utterance's phonemes over all alignments (CTC: Graves et al. 2006).

    Args:
        log_posteriors: Log posteriors, shape (batch, frames, outputs), blank first.
        num_frames: Number of frames of each utterance, shape (batch,).
        targets: Output indices of the phonemes, shape (batch, longest).
        target_lengths: Number of phonemes of each utterance, shape (batch,).

    Returns:
        Log probabilities, shape (batch,); 0 without a gradient where there are too few frames.
    """
    return -functional.ctc_loss(
        log_posteriors.transpose(0, 1),
        targets,
        num_frames,
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )


CTC_WEIGHT = 0.1
"""Weight of plain CTC in the objective ``crf``, for stability (Xiang & Ou 2019)."""

LOG_PROBABILITIES = {"classify": token_log_probability, "recognize": sequence_log_probability}


def stage_loss(
    recognition: Recognition,
    batch: Batch,
    kind: Literal["classify", "recognize"],
    stage: Stage,
    trigram: Trigram | None = None,
) -> Tensor:
    """The loss of a stage.

    Args:
        recognition: The model's output.
        batch: References and speakers.
        kind: The task.
        stage: The stage, which specifies the objective.
        trigram: Trigram of the training phonemes, for the objective ``crf``.
    """
    if stage.objective == "crf":
        assert trigram is not None
        return crf_loss(recognition, batch, trigram)
    if stage.objective == "speaker":
        return speaker_loss(recognition.routing, batch.speaker)
    if stage.objective == "cross_entropy":
        return phoneme_loss(recognition, batch, kind, stage.blend)
    return token_error(recognition.log_posteriors, batch.targets, stage.objective)


def crf_loss(recognition: Recognition, batch: Batch, trigram: Trigram) -> Tensor:
    """CTC-CRF (Xiang & Ou 2019) with a little plain CTC: mean loss per phoneme in nats.

    ``-log P(reference)``, where P is the product of posteriors and a phoneme trigram, normalised
    over all phoneme sequences. An utterance with too few frames for its phonemes has no gradient.

    Args:
        recognition: The model's output.
        batch: References.
        trigram: Trigram of the training phonemes.
    """
    mask = recognition.routing.mask
    log_posteriors = recognition.log_posteriors
    num_frames = mask.sum(dim=1)
    by_ctc = sequence_log_probability(
        log_posteriors, num_frames, batch.targets, batch.target_lengths
    )
    by_ngram = trigram.log_probability(batch.targets, batch.target_lengths)
    by_crf = by_ctc + by_ngram - log_partition(log_posteriors, mask, trigram)
    log_probability = torch.where(by_ctc < 0, by_crf + CTC_WEIGHT * by_ctc, 0)
    return -global_mean(log_probability / batch.target_lengths.clamp(min=1))


VIEWS = 2
"""Augmentations of an utterance in a step of a stage with ``consistency``."""


def inconsistency(recognition: Recognition, batch: Batch) -> Tensor:
    """Divergence between the posteriors of two augmentations of each utterance, nats per phoneme.

    Consistency regularisation (CR-CTC: Yao et al. 2024, sec. 3): the mean of both Kullback-Leibler
    divergences, each with respect to the posteriors of one view while those of the other are
    constant, summed over frames. What is masked in one view is learned from the other.

    Args:
        recognition: Output of the model for the first views, then for the second.
        batch: The utterances, twice.
    """
    first, second = recognition.log_posteriors.float().chunk(VIEWS)
    mask = recognition.routing.mask.chunk(VIEWS)[0]
    by_frame = _divergence(second.detach(), first) + _divergence(first.detach(), second)  # (B, T)
    lengths = batch.target_lengths.chunk(VIEWS)[0].clamp(min=1)
    return global_mean((by_frame / VIEWS).masked_fill(~mask, 0).sum(dim=1) / lengths)


def _divergence(of: Tensor, from_: Tensor) -> Tensor:
    """``KL(of || from_)`` of log probabilities along the last axis."""
    return functional.kl_div(from_, of, reduction="none", log_target=True).sum(dim=-1)


def speaker_loss(routing: Routing, speaker: Tensor) -> Tensor:
    """Mean negative log weight of the speaker's own expert, without padding, in nats.

    Args:
        routing: Routing with weights of shape (batch, frames, experts).
        speaker: Index of each speaker's own expert, shape (batch,).
    """
    log_weight = routing.log_weights.take_along_dim(speaker[:, None, None], dim=-1)[..., 0]
    return -global_mean(log_weight[routing.mask])


def token_error(
    log_posteriors: Tensor, targets: Tensor, objective: Literal["mse", "cfm"]
) -> Tensor:
    """Mean error of the tokens' posteriors (``training.token_objectives.NET_OBJECTIVES``).

    Args:
        log_posteriors: Log posteriors, shape (batch, 1, outputs).
        targets: Output index of the phoneme, shape (batch, 1).
        objective: Squared error, or negated classification figure of merit.
    """
    posteriors = log_posteriors[:, 0].exp()
    one_hot = functional.one_hot(targets[:, 0], posteriors.shape[-1]).to(posteriors.dtype)
    return global_mean(NET_OBJECTIVES[objective](posteriors, one_hot))


def phoneme_loss(
    recognition: Recognition,
    batch: Batch,
    kind: Literal["classify", "recognize"],
    blend: Literal["frame", "utterance"] = "frame",
) -> Tensor:
    """Mean negative log probability of the phonemes, in nats per phoneme.

    With ``blend="utterance"`` it is that of a mixture that uses one expert for the whole utterance,
    ``-log sum_e g_e P_e(phonemes)`` with the gate's mean weight ``g_e`` (Jacobs et al. 1991, eq. 3,
    for sequences): the experts compete for utterances, and the gate learns which expert recognises
    a whole utterance best, not only the few frames in which CTC emits a phoneme.

    Args:
        recognition: The model's output, including every expert's for ``blend="utterance"``.
        batch: References.
        kind: The task.
        blend: The unit over which the gate blends experts.
    """
    log_probability = LOG_PROBABILITIES[kind]
    routing = recognition.routing
    num_frames = routing.mask.sum(dim=1)  # (B,)
    if blend == "frame":
        log_probabilities = log_probability(
            recognition.log_posteriors, num_frames, batch.targets, batch.target_lengths
        )
    else:
        assert recognition.expert_log_posteriors is not None
        experts = recognition.expert_log_posteriors.permute(2, 0, 1, 3)  # (E, B, T, P)
        count = len(experts)
        by_expert = log_probability(
            experts.flatten(0, 1),
            num_frames.repeat(count),
            batch.targets.repeat(count, 1),
            batch.target_lengths.repeat(count),
        ).view(count, -1)  # (E, B)
        real = routing.log_weights.masked_fill(~routing.mask[..., None], -torch.inf)
        log_mean_weights = torch.logsumexp(real, dim=1) - num_frames.log()[:, None]  # (B, E)
        log_probabilities = torch.logsumexp(log_mean_weights + by_expert.T, dim=1)
    return -global_mean(log_probabilities / batch.target_lengths.clamp(min=1))
