"""Training of the timing net (``model.timing_net``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phoneme_moe.decoding.label_priors import subtract_prior, unnormalized_ctc_loss
from phoneme_moe.decoding.viterbi import min_num_frames
from phoneme_moe.model.timing_net import TimingNet
from phoneme_moe.training.minibatch import Schedule, fit

PRIOR_MEMORY = 0.99
"""Decay per step of the running label prior."""


def fit_timing_net(
    features: Sequence[Tensor],
    targets: Sequence[Tensor],
    num_outputs: int,
    schedule: Schedule,
    seed: int,
    width: int = 96,
    prior_scale: float = 1.0,
    prior_memory: float = PRIOR_MEMORY,
) -> TimingNet:
    """Trains a timing net by CTC with label priors (Zeyer et al. 2021; Huang et al. 2024).

    Args:
        features: Features of each utterance, shape (frames, features).
        targets: Phonemes of each utterance, shape (phonemes,); an utterance with too few frames is
            skipped.
        num_outputs: Number of outputs: phonemes and the blank.
        schedule: The training schedule.
        seed: Random seed of weights and order.
        width: Number of channels.
        prior_scale: Exponent of the label prior.
        prior_memory: Decay per step of the running label prior.
    """
    torch.manual_seed(seed)
    net = TimingNet(features[0].shape[1], num_outputs, width, prior_scale)
    fits = torch.tensor(
        [len(f) >= min_num_frames(t.tolist()) for f, t in zip(features, targets, strict=True)]
    )
    usable = fits.nonzero()[:, 0]
    num_frames = torch.tensor([len(f) for f in features])
    lengths = torch.tensor([len(t) for t in targets])
    prior = torch.full((num_outputs,), 1 / num_outputs)

    def loss(chosen: Tensor) -> Tensor:
        rows = usable[chosen[0]]
        mask = torch.arange(int(num_frames[rows].max())) < num_frames[rows][:, None]
        padded = pad_sequence([features[i] for i in rows.tolist()], batch_first=True).float()
        log_posteriors = net.log_posteriors(padded, mask)
        mean = log_posteriors.detach().exp()[mask].mean(dim=0)
        prior.mul_(prior_memory).add_(mean, alpha=1 - prior_memory)
        scores = subtract_prior(log_posteriors, prior.log(), prior_scale)
        references = pad_sequence([targets[i] for i in rows.tolist()], batch_first=True)
        losses = unnormalized_ctc_loss(scores, num_frames[rows], references, lengths[rows])
        return (losses / lengths[rows]).mean()

    fit(net.parameters(), [torch.arange(len(usable))], loss, schedule, seed)
    net.log_prior.copy_(prior.log())
    return net.eval()
