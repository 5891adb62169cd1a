"""SpeechBrain's CRDNN with CTC as its TIMIT recipe trains it, within a budget of time.

SpeechBrain is no dependency of this package; beside torch it needs little::

    pip install --no-deps speechbrain==1.1.2 hyperpyyaml ruamel.yaml sentencepiece huggingface_hub

Every layer, feature, augmentation, loss, schedule and decoder is imported from SpeechBrain 1.1.2.
Settings are those of ``recipes/TIMIT/ASR/CTC/hparams/train.yaml`` (speechbrain/speechbrain at
1c67ddf), and what that leaves open those of ``speechbrain.core.Brain``:

* 40 log mel bands (25 ms, 10 ms, no deltas), one mean and deviation for everything;
* two CNN blocks of 128 and 256 channels (3 x 3), pooled by 2 in time, four bidirectional LiGRU
  layers of 512, two DNN blocks of 512, dropout 0.15, LeakyReLU, a linear layer to 39 phonemes and
  blank (output 0);
* Adadelta (1.0, rho 0.95, eps 1e-8), gradients clipped at a norm of 5, NewBob annealing (0.8 at
  less than 0.25 % improvement on dev), batches of 8, utterances from short to long in each epoch;
* each batch as it is and once more with noise (0 to 15 dB), speed (95, 100, 105 %), dropped bands
  and dropped chunks;
* greedy decoding, the weights of the epoch with the lowest PER on dev.

It differs in this: the recipe's noises are a download, here the noise is white (SpeechBrain's own
default); sound lies in memory instead of coming from worker processes; where eight utterances are
longer together than any eight of TIMIT (6 % of them), fewer are put side by side; and training ends
when the time is over, in the middle of an epoch if need be. The model as it is then is measured on
dev, too.
``torch.jit``, which a README of the same folder recommends on GPUs, gains nothing on a CPU (forward
and backward of the full model on 16 utterances of 3 s on one thread: 6.2 s without it, 6.7 s with
it), so it is left out.

Legend: B batch, T frames, P outputs.
"""

from __future__ import annotations

import copy
import importlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phoneme_moe.decoding.phonemes import BLANK, PhonemeSet
from phoneme_moe.decoding.scoring import Score, score_utterance, total_score
from phoneme_moe.errors import InputError

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 160
BATCH_SIZE = 8
MOST_SAMPLES = BATCH_SIZE * 8 * SAMPLE_RATE
"""Of a training batch, padding included. No sentence of TIMIT is longer than 8 s; eight of 20 s, as
there are here, would need some 25 GB."""
SEED = 1986
STEPS_BETWEEN_LINES = 50
WIDTH_STEP = 4
"""Narrowed widths are multiples of this, which processors like better than odd ones."""


@dataclass(frozen=True)
class Sound:
    """An utterance before any feature is computed.

    Attributes:
        utterance: Its identifier.
        phonemes: Reference phonemes.
        waveform: Shape (samples,), at 16 kHz.
    """

    utterance: str
    phonemes: tuple[str, ...]
    waveform: Tensor

    @property
    def num_frames(self) -> int:
        """Whole 10 ms frames."""
        return len(self.waveform) // FRAME_SAMPLES


@dataclass(frozen=True)
class Widths:
    """Sizes of the CRDNN; the recipe's by default."""

    cnn: tuple[int, int] = (128, 256)
    rnn: int = 512
    dnn: int = 512

    def scaled(self, factor: float) -> Widths:
        """All widths times a factor."""
        first, second, rnn, dnn = (
            max(1, round(width * factor / WIDTH_STEP)) * WIDTH_STEP
            for width in (*self.cnn, self.rnn, self.dnn)
        )
        return Widths((first, second), rnn, dnn)


def part(module: str, name: str) -> Any:
    """Something of SpeechBrain's.

    Raises:
        InputError: SpeechBrain is not installed.
    """
    try:
        return getattr(importlib.import_module(f"speechbrain.{module}"), name)
    except ImportError as error:
        raise InputError(
            f"SpeechBrain cannot be imported ({error}); type: pip install --no-deps "
            "speechbrain==1.1.2 hyperpyyaml ruamel.yaml sentencepiece huggingface_hub"
        ) from error


class Crdnn(nn.Module):
    """Waveforms to log posteriors, at half the frame rate."""

    def __init__(self, widths: Widths, num_outputs: int) -> None:
        """Builds it with fresh weights.

        Args:
            widths: Its sizes.
            num_outputs: Phonemes and blank.
        """
        super().__init__()
        fbank = part("lobes.features", "Fbank")
        normalization = part("processing.features", "InputNormalization")
        self.features = fbank(sample_rate=SAMPLE_RATE, n_fft=400, n_mels=40)
        self.normalize = normalization(norm_type="global")
        self.model = part("lobes.models.CRDNN", "CRDNN")(
            input_size=40,
            activation=nn.LeakyReLU,
            dropout=0.15,
            cnn_blocks=2,
            cnn_channels=widths.cnn,
            cnn_kernelsize=(3, 3),
            time_pooling=True,
            rnn_layers=4,
            rnn_neurons=widths.rnn,
            rnn_bidirectional=True,
            dnn_blocks=2,
            dnn_neurons=widths.dnn,
        )
        linear = part("nnet.linear", "Linear")
        self.output = linear(input_size=widths.dnn, n_neurons=num_outputs, bias=True)
        self.log_softmax = part("nnet.activations", "Softmax")(apply_log=True)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Log posteriors of a batch, shape (batch, frames / 2, outputs).

        Args:
            waveforms: Shape (batch, samples).
            lengths: Of each, as a share of the longest, shape (batch,).
        """
        features = self.normalize(self.features(waveforms), lengths)
        log_posteriors: Tensor = self.log_softmax(self.output(self.model(features)))
        return log_posteriors  # (B, T / 2, P)


def num_parameters(model: nn.Module) -> int:
    """Weights of a model."""
    return sum(p.numel() for p in model.parameters())


def narrowed(target: int, num_outputs: int, tolerance: float = 0.05) -> Widths:
    """The recipe's widths times the one factor at which the model has so many parameters.

    Args:
        target: Parameters.
        num_outputs: Phonemes and blank.
        tolerance: How far the number may be off, as a share of it.

    Raises:
        InputError: No factor comes near enough.
    """
    low, high = 0.0, 4.0
    nearest, miss = Widths(), float("inf")
    # A dozen halvings are finer than the step of the widths.
    for _ in range(12):
        factor = (low + high) / 2
        widths = Widths().scaled(factor)
        size = num_parameters(Crdnn(widths, num_outputs))
        if abs(size / target - 1) < miss:
            nearest, miss = widths, abs(size / target - 1)
        low, high = (factor, high) if size < target else (low, factor)
    if miss > tolerance:
        raise InputError(
            f"no CRDNN has {target:,} parameters; the nearest is {100 * miss:.0f} % off"
        )
    return nearest


def augmenter() -> Any:
    """The recipe's augmentation: a batch becomes twice as large, the second half perturbed."""
    kinds = ("AddNoise", "SpeedPerturb", "DropFreq", "DropChunk")
    add_noise, speed, drop_freq, drop_chunk = (part("augment.time_domain", kind) for kind in kinds)
    return part("augment.augmenter", "Augmenter")(
        concat_original=True,
        min_augmentations=4,
        max_augmentations=4,
        augment_prob=1.0,
        augmentations=[
            add_noise(snr_low=0, snr_high=15),
            speed(orig_freq=SAMPLE_RATE, speeds=[95, 100, 105]),
            drop_freq(
                drop_freq_low=0,
                drop_freq_high=1,
                drop_freq_count_low=1,
                drop_freq_count_high=3,
                drop_freq_width=0.05,
            ),
            drop_chunk(
                drop_length_low=1000, drop_length_high=2000, drop_count_low=1, drop_count_high=5
            ),
        ],
    )


@dataclass(frozen=True)
class Fitted:
    """What a budget of training leaves.

    Attributes:
        model: With the weights that made the fewest errors on dev.
        dev_error: PER of it on dev.
        seconds: Spent on training steps; evaluation not counted.
        epochs: Passes over the training split.
        corpus_frames: 10 ms frames of utterances trained on.
        frames: The same with the perturbed copies.
    """

    model: Crdnn
    dev_error: float
    seconds: float
    epochs: float
    corpus_frames: int
    frames: int


def fit(
    widths: Widths,
    phonemes: PhonemeSet,
    train: Sequence[Sound],
    dev: Sequence[Sound],
    budget_seconds: float,
) -> Fitted:
    """Trains until the time is over.

    Args:
        widths: Of the model.
        phonemes: Its outputs, blank first.
        train: To learn from.
        dev: Measured after each epoch and at the end.
        budget_seconds: For training steps.
    """
    torch.manual_seed(SEED)
    random.seed(SEED)
    model = Crdnn(widths, phonemes.num_outputs)
    augment = augmenter()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0, rho=0.95, eps=1e-8)
    anneal = part("nnet.schedulers", "NewBobScheduler")(
        initial_value=1.0, improvement_threshold=0.0025, annealing_factor=0.8, patient=0
    )
    batches = list(sorted_batches(train, BATCH_SIZE, MOST_SAMPLES))
    best, least = model, float("inf")
    spent, corpus_frames, frames, done = 0.0, 0, 0, 0
    while spent < budget_seconds:
        losses = []
        model.train()
        for batch in batches:
            start = time.perf_counter()
            loss, num_frames = training_step(model, augment, optimizer, batch, phonemes)
            spent += time.perf_counter() - start
            losses.append(loss)
            frames += num_frames
            corpus_frames += sum(sound.num_frames for sound in batch)
            done += 1
            if done % STEPS_BETWEEN_LINES == 0:
                recent = losses[-STEPS_BETWEEN_LINES:]
                print(
                    f"{done / len(batches):6.2f} epochs {spent:7.0f} s  "
                    f"{frames / spent:7,.0f} frames/s  loss {sum(recent) / len(recent):.3f}",
                    flush=True,
                )
            if spent >= budget_seconds:
                break
        error = score(dev, recognize(model, dev, phonemes)).error_rate
        if error < least:
            best, least = copy.deepcopy(model), error
        print(
            f"{done / len(batches):6.2f} epochs {spent:7.0f} s  "
            f"loss {sum(losses) / len(losses):.3f}  dev {100 * error:.1f} %",
            flush=True,
        )
        if done % len(batches) == 0:
            _, rate = anneal(error)
            for group in optimizer.param_groups:
                group["lr"] = rate
    return Fitted(best, least, spent, done / len(batches), corpus_frames, frames)


def training_step(
    model: Crdnn,
    augment: Any,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Sound],
    phonemes: PhonemeSet,
) -> tuple[float, int]:
    """One step; returns the loss and the real frames that went through the network."""
    waveforms, lengths = augment(*side_by_side(batch))
    targets = [torch.tensor(phonemes.encode(sound.phonemes)) for sound in batch]
    longest = max(len(target) for target in targets)
    shares = torch.tensor([len(target) / longest for target in targets])
    loss = part("nnet.losses", "ctc_loss")(
        model(waveforms, lengths),
        augment.replicate_labels(nn.utils.rnn.pad_sequence(targets, batch_first=True)),
        lengths,
        augment.replicate_labels(shares),
        blank_index=BLANK,
    )
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach()), int((lengths * waveforms.shape[1]).sum()) // FRAME_SAMPLES


def sorted_batches(
    sounds: Sequence[Sound], batch_size: int, most_samples: int | None = None
) -> Iterator[list[Sound]]:
    """Batches from the shortest utterances to the longest.

    Args:
        sounds: In any order.
        batch_size: Utterances side by side.
        most_samples: Of a batch with its padding; at least one utterance is in it all the same.
    """
    batch: list[Sound] = []
    for sound in sorted(sounds, key=lambda sound: len(sound.waveform)):
        samples = (len(batch) + 1) * len(sound.waveform)
        if len(batch) == batch_size or (batch and most_samples and samples > most_samples):
            yield batch
            batch = []
        batch.append(sound)
    if batch:
        yield batch


def side_by_side(batch: Sequence[Sound]) -> tuple[Tensor, Tensor]:
    """Waveforms, shape (batch, samples), and their shares of the longest, shape (batch,)."""
    waveforms = nn.utils.rnn.pad_sequence([s.waveform for s in batch], batch_first=True)
    return waveforms, torch.tensor([len(s.waveform) / waveforms.shape[1] for s in batch])


@torch.no_grad()
def recognize(
    model: Crdnn, sounds: Sequence[Sound], phonemes: PhonemeSet, batch_size: int = BATCH_SIZE
) -> dict[str, list[str]]:
    """Phonemes of every utterance, by its identifier."""
    decode = part("decoders.ctc", "ctc_greedy_decode")
    model.eval()
    hypotheses = {}
    for batch in sorted_batches(sounds, batch_size):
        waveforms, lengths = side_by_side(batch)
        paths = decode(model(waveforms, lengths), lengths, blank_id=BLANK)
        for sound, path in zip(batch, paths, strict=True):
            hypotheses[sound.utterance] = phonemes.decode(path)
    return hypotheses


def score(sounds: Sequence[Sound], hypotheses: dict[str, list[str]]) -> Score:
    """Errors in what was recognised."""
    return total_score([score_utterance(s.phonemes, hypotheses[s.utterance]) for s in sounds])
