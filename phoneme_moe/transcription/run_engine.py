"""Inference with a run folder, through torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from phoneme_moe.audio.waveform import Waveform
from phoneme_moe.errors import InputError
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.files.writing import path_text
from phoneme_moe.mixture.override import LayerOverrides, RoutingOverride
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import PretrainedFeatures
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.model_spec import Floats, ModelOutput, ModelSpec, check_output


class RunEngine:
    """The model of a run folder (``transcription.model_spec.Engine``)."""

    def __init__(
        self,
        run: LoadedRun,
        override: RoutingOverride | LayerOverrides | None = None,
        layer: str | None = None,
    ) -> None:
        """Prepares a loaded run.

        Args:
            run: The run.
            override: Routing to use instead of that of the gate or routers.
            layer: Sparse layer whose weights are output; the last one by default.

        Raises:
            InputError: The run's gate takes the speaker's identity, which is unknown here; or the
                layer does not exist.
        """
        recognizer = run.recognizer
        if recognizer.gate_is_speaker and override is None:
            raise InputError(
                f"{run.name}: model.gate is of kind speaker, and the speaker of a recording is "
                "not known; expected a run with another kind of gate"
            )
        self.run = run
        self.override = override
        self.layer, experts = recognizer.routed_layer(layer)
        self.spec = replace(spec_of(run), experts=experts)

    @torch.inference_mode()
    def infer(
        self,
        features: Floats,
        num_frames: NDArray[np.int64],
        embedding: Floats | None = None,
        timed: bool = True,
    ) -> ModelOutput:
        """See ``transcription.model_spec.Engine``."""
        recognizer = self.run.recognizer
        device = recognizer.device
        inputs = torch.from_numpy(features).to(device)
        lengths = torch.from_numpy(np.asarray(num_frames)).to(device)
        mask = torch.arange(inputs.shape[1], device=device) < lengths[:, None]
        vectors = None if embedding is None else torch.from_numpy(embedding).to(device)
        recognition = recognizer(inputs, mask, embedding=vectors, override=self.override)
        timing = None
        if timed and recognizer.timing is not None:
            timing = recognizer.timing(inputs, mask)
        output = ModelOutput(
            recognition.log_posteriors.float().cpu().numpy(),
            recognition.routing_of(self.layer).weights.float().cpu().numpy(),
            None if timing is None else timing.cpu().numpy(),
        )
        return check_output(output, self.spec, np.asarray(num_frames), features.shape[1])

    @contextmanager
    def leave_cores(self, number: int) -> Iterator[None]:
        """See ``transcription.model_spec.Engine``."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads - number))
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def spec_of(run: LoadedRun) -> ModelSpec:
    """The specification of a run's model."""
    recognizer, task, features = run.recognizer, run.recognizer.task, run.recipe.features
    encode = None
    if isinstance(features, PretrainedFeatures):
        settings = {"sample_rate": features.sample_rate, "hop_ms": features.hop_ms}
        encode = _encoder_of(recognizer)
    else:
        settings = features.front_end
    return ModelSpec(
        source=path_text(run.name),
        recipe=run.recipe.name,
        corpus=run.recipe.corpus.name,
        phonemes=recognizer.phonemes,
        experts=recognizer.routed_layer()[1],
        features=settings,
        stack=recognizer.stack,
        tokens=task.kind == "classify",
        token_ms=task.token_ms,
        onset_ms=task.onset_ms,
        context=recognizer.context,
        embedding_size=recognizer.embedding_size,
        decoding=run.decoding,
        encode=encode,
    )


def _encoder_of(recognizer: Recognizer) -> Callable[[Waveform], Floats]:
    front_end = recognizer.front_end
    assert isinstance(front_end, PretrainedFrontEnd)
    return lambda waveform: front_end.encode(waveform).numpy()
