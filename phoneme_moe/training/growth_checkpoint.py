"""The checkpoint of training new experts in sparse layers, from which it can be resumed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.files.writing import write_bytes
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import Recipe
from phoneme_moe.training.checkpoints import read_checkpoint

CHECKPOINT = "growth.ckpt"
"""Name of the file, in the folder of the grown run until that is written."""


def digest_of(recipe: Recipe, old: Recognizer, *examples: Sequence[Example]) -> str:
    """A digest of all that a training depends on.

    Args:
        recipe: Recipe of the grown run.
        old: The model without the new experts.
        examples: The training utterances.
    """
    digest = hashlib.blake2b(recipe.model_dump_json().encode(), digest_size=16)
    for part in examples:
        digest.update("\n".join(example.utterance for example in part).encode() + b"\0")
    for weight in old.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class GrowthCheckpoint:
    """The state of a training between two epochs.

    Attributes:
        path: The file.
        digest: What ``digest_of`` gives for the training.
        parameters: Parameters that are trained, by name.
        optimizer: Their optimiser.
        scheduler: Its schedule.
    """

    path: Path
    digest: str
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def save(self, epochs: int) -> None:
        """Writes the state after a number of epochs, atomically."""
        content = io.BytesIO()
        # With the keys that every checkpoint has.
        state = {
            "state_dict": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [self.scheduler.state_dict()],
            "loops": {"epochs": epochs},
            "callbacks": {"digest": self.digest},
        }
        torch.save(state, content)
        write_bytes(self.path, content.getvalue(), durable=True)

    def load(self) -> int:
        """Continues with a stored state, if there is one.

        Returns:
            The number of epochs that are done.

        Raises:
            InputError: The file is damaged or is of another training.
        """
        if not self.path.exists():
            return 0
        state = read_checkpoint(self.path)
        if state["callbacks"].get("digest") != self.digest:
            raise InputError(
                f"{self.path}: found the checkpoint of a training with other settings or speech; "
                "expected an empty or new folder, or the same command"
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["state_dict"][name])
        self.optimizer.load_state_dict(state["optimizer_states"][0])
        self.scheduler.load_state_dict(state["lr_schedulers"][0])
        epochs: int = state["loops"]["epochs"]
        return epochs
