"""A run that listens, through torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoneme_moe.errors import InputError
from phoneme_moe.mixture.override import WhatIf
from phoneme_moe.run import Run
from phoneme_moe.transcription.model_spec import Card, Floats, Heard
from phoneme_moe.transcription.transcribe import Options, transcribe_file
from phoneme_moe.transcription.transcript import Transcript


class RunEngine:
    """A run folder's model, ready to listen (``transcription.model_spec.Engine``)."""

    def __init__(self, run: Run, what_if: WhatIf | None = None) -> None:
        """Opens nothing; the run is loaded.

        Args:
            run: The run.
            what_if: Other experts than the run's own gate or router would ask.

        Raises:
            InputError: The run's gate is who speaks, which a recording does not say.
        """
        recognizer = run.recognizer
        if recognizer.asks_speaker and what_if is None:
            raise InputError(
                f"{run.folder}: model.gate is of kind speaker, and a recording does not say who "
                "speaks; expected a run whose gate listens (evaluate can use this one)"
            )
        self.run = run
        self.what_if = what_if
        self.layer, _ = recognizer.routed_layer()
        self.card = card_of(run)

    @torch.inference_mode()
    def hear(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> Heard:
        """As ``transcription.model_spec.Engine`` says."""
        recognizer = self.run.recognizer
        device = recognizer.device
        sound = torch.from_numpy(features).to(device)
        lengths = torch.from_numpy(np.asarray(num_frames)).to(device)
        mask = torch.arange(sound.shape[1], device=device) < lengths[:, None]
        vectors = None if embedding is None else torch.from_numpy(embedding).to(device)
        said = recognizer(sound, mask, embedding=vectors, what_if=self.what_if)
        timing = None
        if timed and recognizer.timing is not None:
            timing = recognizer.timing(sound, mask)
        return Heard(
            said.log_posteriors.float().cpu().numpy(),
            said.routing_of(self.layer).weights.float().cpu().numpy(),
            None if timing is None else timing.cpu().numpy(),
        )

    @contextmanager
    def leave_cores(self, number: int) -> Iterator[None]:
        """As ``transcription.model_spec.Engine`` says."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads - number))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def card_of(run: Run) -> Card:
    """What must be known of a run to transcribe with it."""
    recognizer, task = run.recognizer, run.recognizer.task
    return Card(
        source=str(run.folder),
        recipe=run.recipe.name,
        corpus=run.recipe.corpus.name,
        phonemes=recognizer.phonemes,
        experts=recognizer.routed_layer()[1],
        features=run.recipe.features.model_dump(exclude={"stack"}),
        stack=recognizer.stack,
        tokens=task.kind == "classify",
        token_ms=task.token_ms,
        onset_ms=task.onset_ms,
        context=recognizer.context,
        embedding_size=recognizer.embedding_size,
        decoding=run.decoding,
    )


def transcribe(run: Run, path: str | Path, options: Options | None = None) -> Transcript:
    """Transcribes a recording, as ``run.transcribe`` does.

    Args:
        run: The run.
        path: An audio file.
        options: How.

    Raises:
        InputError: The file is not audio that can be used, or the options do not fit the run.
    """
    return transcribe_file(RunEngine(run), path, options)
