"""One stage of training as a LightningModule: trained parts, routing, loss, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from phoneme_moe.data.batches import Batch, build_augment
from phoneme_moe.decoding.ctc_crf import Trigram
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.decoding.ngram import PhonemeNgram
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.errors import InputError
from phoneme_moe.inference import decode_phonemes
from phoneme_moe.mixture.routing import imbalance
from phoneme_moe.mixture.sparse.layer_routing import over_all_ranks
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe, Stage
from phoneme_moe.system.ranks import global_sum, num_ranks, stepping_together, this_rank
from phoneme_moe.training.minibatch import warmup_fraction
from phoneme_moe.training.objectives import VIEWS, inconsistency, stage_loss
from phoneme_moe.training.optimizers import build_optimizer
from phoneme_moe.training.router_metrics import RouterMetrics
from phoneme_moe.training.sharded_encoder import reshard
from phoneme_moe.training.spread import (
    clip_gradients,
    divided_parameters,
    with_all_parts,
    with_own_parts,
)
from phoneme_moe.training.teacher import HiddenStateTeacher, PosteriorTeacher

DEV_BEAM = 4
"""Beam width on dev after every epoch when training with an n-gram."""


def remaining_offset(step: int, num_steps: int) -> float:
    """Remaining fraction of a new expert's offset at a step of its first epoch, 1..0.

    A fourth power, since the expert stays unused over most of the offset's range
    (``training.grow``); the part that makes a difference should last for half of the epoch.

    Args:
        step: Index of the step, from 0.
        num_steps: Number of steps of the epoch; the offset is 0 at the last one.
    """
    return max(0.0, 1 - step / max(num_steps - 1, 1)) ** 4


class StageModule(pl.LightningModule):
    """Trains the parts that a stage specifies, with the routing that it specifies."""

    def __init__(
        self,
        recognizer: Recognizer,
        recipe: Recipe,
        stage_index: int,
        ngram: PhonemeNgram | None = None,
        teacher: HiddenStateTeacher | PosteriorTeacher | None = None,
    ) -> None:
        """Freezes the parts that the stage does not train.

        Args:
            recognizer: The model to train in place.
            recipe: The recipe that contains the stage.
            stage_index: Index of the stage.
            ngram: N-gram of the training phonemes, for the objective ``crf``.
            teacher: What the model learns from besides, if anything.
        """
        super().__init__()
        self.recognizer = recognizer
        self.stage: Stage = recipe.training.stages[stage_index]
        self.seeds = (recipe.seed, stage_index)
        self.augment = build_augment(recipe, self.stage)
        self.task = recipe.task
        self.teacher = teacher
        self.teacher_weight = recipe.training.teacher.weight if recipe.training.teacher else 0.0
        self.gradient_clip = recipe.training.gradient_clip
        self.parts: dict[str, torch.nn.Module | None] = {
            "experts": recognizer.experts,
            "gate": recognizer.gate,
            "encoder": recognizer.encoder,
        }
        if recognizer.adapted is not None:
            self.parts["experts"] = recognizer.adapted.adapters
            self.parts["gate"] = recognizer.adapted.gate
        sparse = recognizer.encoder.sparse_layers if recognizer.encoder else []
        self.router_metrics = RouterMetrics(sparse)
        for name, part in self.parts.items():
            if part is not None:
                part.requires_grad_(name in self.stage.train)
        self.trigram: Trigram | None = None
        # Greedy decoding regardless of the run's setting, since dev is decoded after every epoch.
        self.decoding = Decoding()
        if self.stage.objective == "crf":
            assert ngram is not None
            self.trigram = Trigram.from_ngram(ngram)
            self.decoding = Decoding(language_model=ngram, lm_weight=1.0, beam=DEV_BEAM)
        # Lightning's estimate begins to load data, before the state of a checkpoint is restored on
        # which depends what is loaded.
        self.steps_per_epoch: int | None = None
        self._load = torch.zeros(len(recognizer.expert_names))
        self._loss = torch.zeros(())
        self.num_steps = 0
        self._errors = self._phonemes = 0
        self._wrong_speakers = self._utterances = 0
        self._offsets: list[tuple[Tensor, Tensor]] = []

    @property
    def monitored(self) -> str:
        """Name of the dev metric by which epochs are compared; lower is better."""
        return "dev_speaker_error" if self.stage.objective == "speaker" else "dev_error"

    def on_train_epoch_start(self) -> None:
        """Seeds the epoch, so that a resumed run equals an uninterrupted one."""
        seed, stage_index = self.seeds
        # Every process that trains has random numbers of its own, the first those of one alone.
        another = this_rank() * 1_000_000_007
        torch.manual_seed((seed * 1000 + stage_index) * 100_000 + self.current_epoch + another)
        self.freeze_parts()
        self._load = torch.zeros(len(self.recognizer.expert_names), device=self.device)
        self._loss = torch.zeros((), device=self.device)
        self.num_steps = 0
        self.router_metrics.reset()
        for layer in self.router_metrics.layers.values():
            layer.reset_counts()

    def on_train_start(self) -> None:
        """Reads the offsets of new experts, after the checkpoint is loaded to the device."""
        if self.trigram is not None:
            self.trigram = self.trigram.to(self.device)
        self._offsets = [
            (offset, offset.clone())
            for name, offset in self.recognizer.named_buffers()
            if name.endswith(".offset") and bool(offset.any())
        ]

    def on_before_batch_transfer(self, batch: Batch | InputError, dataloader_idx: int) -> Batch:
        """Raises what a worker could not (``data.stream.StreamedExamples``)."""
        if isinstance(batch, InputError):
            raise batch
        return batch

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Reduces the offsets of new experts over the first epoch (``training.grow``)."""
        if self.current_epoch > 0:
            return
        steps = max(int(self.trainer.num_training_batches) - 1, 1)
        for offset, initial in self._offsets:
            offset.copy_(initial * remaining_offset(batch_index, steps + 1))

    def freeze_parts(self) -> None:
        """Puts trained parts into training mode and frozen ones into evaluation mode."""
        self.recognizer.train()
        for name, part in self.parts.items():
            if part is not None and name not in self.stage.train:
                part.eval()

    def recognize(
        self,
        batch: Batch,
        features: Tensor,
        mask: Tensor,
        augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Recognition:
        """Recognises a batch with the routing of the stage.

        Speakers of dev who are not in training have no expert, and the gate routes.

        Args:
            batch: Utterances of speakers with an expert, or of speakers without one.
            features: Their features, shape (batch, frames, features).
            mask: True for real frames, shape (batch, frames).
            augment: Augmentation behind an encoder with adapters.
        """
        by_speaker = self.stage.route == "speaker" or self.recognizer.gate_is_speaker
        has_expert = batch.examples[0].speaker in self.recognizer.expert_names
        expert = batch.speaker if by_speaker and has_expert else None
        recognition: Recognition = self.recognizer(
            features,
            mask,
            expert,
            batch.expert_log_posteriors,
            batch.embedding,
            augment=augment,
        )
        return recognition

    def loss(self, recognition: Recognition, batch: Batch) -> Tensor:
        """The loss that the stage minimises."""
        loss = stage_loss(recognition, batch, self.task.kind, self.stage, self.trigram)
        if self.stage.consistency:
            loss = loss + self.stage.consistency * inconsistency(recognition, batch)
        if self.stage.balance:
            loss = loss + self.stage.balance * imbalance(recognition.routing)
        for layer in over_all_ranks(recognition.layers):
            loss = loss + layer.loss
        return loss

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of a batch, of all processes that train together."""
        with stepping_together():
            return self._step(batch)

    def _step(self, batch: Batch) -> Tensor:
        views = VIEWS if self.stage.consistency else 1
        targets: Tensor | None = None

        def augment(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal targets
            if self.teacher is None or batch.teacher is None:
                return self.augment(features, mask, views)
            features, mask, targets = self.augment.with_targets(features, mask, batch.teacher)
            return features, mask

        if self.recognizer.adapted is not None:
            recognition = self.recognize(batch, batch.features, batch.mask, augment)
        else:
            mixed = self.recognizer.mix_layers(batch.features, batch.mask)
            features, mask = augment(mixed, batch.mask)
            repeated = batch.repeated(views) if views > 1 else batch
            recognition = self.recognize(repeated, features, mask)
        batch = batch.repeated(views) if views > 1 else batch
        loss = self.loss(recognition, batch)
        if self.teacher is not None and targets is not None:
            loss = loss + self.teacher_weight * self.teacher.loss(recognition, targets)
        self._load += recognition.routing.mean_weights().detach()
        self._loss += loss.detach()
        self.num_steps += 1
        self.router_metrics.add(recognition.layers)
        for routing in recognition.layers:
            self.router_metrics.layers[routing.layer].update_bias(routing.counts)
        return loss

    def on_after_backward(self) -> None:
        """Releases weights that were gathered for the step."""
        reshard(self)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients, which Lightning refuses for a fused step in mixed precision.

        Gradients are float32 in any precision and bfloat16 needs no loss scaling, so there is
        nothing to unscale. Router metrics are computed before clipping.
        """
        self.router_metrics.add_gradients()
        with stepping_together():
            clip_gradients(self, self.gradient_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the state of the optimiser that of all processes' parts."""
        self._change_optimizer_state(checkpoint, with_all_parts)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes this process's part of the state of the optimiser."""
        self._change_optimizer_state(checkpoint, with_own_parts)

    def _change_optimizer_state(
        self,
        checkpoint: dict[str, Any],
        change: Callable[[dict[str, Any], torch.optim.Optimizer, torch.nn.Module], None],
    ) -> None:
        if divided_parameters(self):
            (state,) = checkpoint["optimizer_states"]
            change(state, build_optimizer(self, self.stage), self)

    def on_validation_epoch_start(self) -> None:
        """Resets the error counts."""
        self._errors = self._phonemes = 0
        self._wrong_speakers = self._utterances = 0

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Counts the errors of a batch."""
        recognition = self.recognize(batch, batch.features, batch.mask)
        hypotheses = decode_phonemes(self.recognizer, recognition, self.decoding)
        for example, hypothesis in zip(batch.examples, hypotheses, strict=True):
            score = score_utterance(example.phonemes, hypothesis)
            self._errors += score.errors
            self._phonemes += score.num_reference
        loads = recognition.routing.loads()
        with_expert = batch.speaker >= 0
        wrong = loads.argmax(dim=-1) != batch.speaker
        self._wrong_speakers += int((wrong & with_expert).sum())
        self._utterances += int(with_expert.sum())

    def on_validation_epoch_end(self) -> None:
        """Logs metrics of the epoch: error rate on dev, mean loss, load of every expert.

        Validation comes last in an epoch, before callbacks read the logged metrics. They are the
        same in all processes that train together: each has counted the errors of a part of dev.
        """
        reshard(self)
        counts = [self._errors, self._phonemes, self._wrong_speakers, self._utterances]
        with stepping_together():
            counts = global_sum(torch.tensor(counts, device=self.device)).tolist()
            self._load = global_sum(self._load) / num_ranks()
            self.router_metrics.sum_over_ranks()
        errors, phonemes, wrong_speakers, utterances = counts
        self.log("dev_error", errors / max(phonemes, 1))
        if self.stage.objective == "speaker":
            self.log("dev_speaker_error", wrong_speakers / max(utterances, 1))
        self.log("loss", self.mean_loss)
        for name, load in zip(self.recognizer.expert_names, self.load.tolist(), strict=True):
            self.log(f"load/{name}", load)
        for layer in self.router_metrics.measure():
            for name, value in layer.by_name().items():
                self.log(name, value)

    @property
    def mean_loss(self) -> float:
        """Mean loss of this epoch's steps so far."""
        return float(self._loss) / max(self.num_steps, 1)

    @property
    def load(self) -> Tensor:
        """Mean weight of every expert in this epoch so far, shape (experts,)."""
        return self._load / max(self.num_steps, 1)

    def configure_optimizers(self) -> Any:
        """The stage's optimiser over the trained parts, with its schedule."""
        stage = self.stage
        assert stage.learning_rate is not None
        optimizer = build_optimizer(self, stage)
        if stage.schedule == "constant":
            return optimizer
        num_steps = (
            int(self.trainer.estimated_stepping_batches)
            if self.steps_per_epoch is None
            else self.steps_per_epoch * stage.epochs
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=stage.learning_rate,
            total_steps=num_steps,
            pct_start=warmup_fraction(num_steps),
            cycle_momentum=False,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
