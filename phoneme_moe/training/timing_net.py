"""Training the net that finds the times of phonemes (``phoneme_moe.model.timing_net``)."""

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
"""Share of the running prior that a step leaves."""


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
    """CTC with label priors over single frames (Zeyer et al. 2021; Huang et al. 2024).

    Args:
        features: Of each utterance, shape (frames, features).
        targets: Its phonemes, shape (phonemes,); what has too few frames for them teaches nothing.
        num_outputs: Phonemes and the blank.
        schedule: How.
        seed: Of weights and order.
        width: Channels.
        prior_scale: Power of the label prior.
        prior_memory: Share of the running prior that a step leaves.
    """
    torch.manual_seed(seed)
    net = TimingNet(features[0].shape[1], num_outputs, width, prior_scale)
    fits = torch.tensor(
        [len(own) >= min_num_frames(t.tolist()) for own, t in zip(features, targets, strict=True)]
    )
    teach = fits.nonzero()[:, 0]
    num_frames = torch.tensor([len(own) for own in features])
    lengths = torch.tensor([len(own) for own in targets])
    prior = torch.full((num_outputs,), 1 / num_outputs)

    def loss(chosen: Tensor) -> Tensor:
        rows = teach[chosen[0]]
        mask = torch.arange(int(num_frames[rows].max())) < num_frames[rows][:, None]
        of_rows = pad_sequence([features[i] for i in rows.tolist()], batch_first=True)
        said = net.log_posteriors(of_rows, mask)
        seen = said.detach().exp()[mask].mean(dim=0)
        prior.mul_(prior_memory).add_(seen, alpha=1 - prior_memory)
        scores = subtract_prior(said, prior.log(), prior_scale)
        spoken = pad_sequence([targets[i] for i in rows.tolist()], batch_first=True)
        found = unnormalized_ctc_loss(scores, num_frames[rows], spoken, lengths[rows])
        return (found / lengths[rows]).mean()

    fit(net.parameters(), [torch.arange(len(teach))], loss, schedule, seed)
    net.log_prior.copy_(prior.log())
    return net.eval()
