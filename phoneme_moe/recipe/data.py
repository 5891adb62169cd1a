"""The sections of a recipe, frozen and strict: the data, the task, and the whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.cross_checks import check_networks, check_stage
from phoneme_moe.recipe.model import Model
from phoneme_moe.recipe.section import Section
from phoneme_moe.recipe.training import Training


class Corpus(Section):
    """Whose speech is learned, and in how much noise.

    Attributes:
        name: A prepared corpus (``phoneme-moe corpora list``).
        speakers: Only these speakers; all of the corpus when left out.
        held_out_speakers: Kept out of training and dev, but still tested.
        max_utterances: At most this many utterances of each speaker in each split, drawn by a hash
            of their ids.
        snr_db: Noise is added to every utterance at this signal-to-noise ratio; none if left out.
        noise_seed: The noise of an utterance follows from this number and the utterance's name.
        embeddings: A safetensors file with a vector of each utterance or speaker, for routers that
            see one (``sees: embedding``).
    """

    name: str
    speakers: tuple[str, ...] | None = None
    held_out_speakers: tuple[str, ...] = ()
    max_utterances: Annotated[int, Field(ge=1)] | None = None
    snr_db: float | None = None
    noise_seed: int = 0
    embeddings: str | None = None


class Features(Section):
    """The log mel spectrum that every part of the model sees.

    Attributes:
        sample_rate: Samples per second that the model works at; audio is resampled to it.
        n_mels: Bands on the mel scale.
        window_ms: Length of the analysis window in milliseconds.
        window: Shape of the analysis window.
        hop_ms: From one frame to the next, in milliseconds.
        normalization: ``range`` scales a token to -1..1 about a mean of 0, as in 1989;
            ``utterance`` gives every band mean 0 and the utterance variance 1.
        stack: Adjacent frames that are joined into one, so that the model takes fewer, wider steps.
    """

    sample_rate: Annotated[int, Field(ge=4000, le=96000)] = 16000
    n_mels: Annotated[int, Field(ge=2, le=256)] = 40
    window_ms: Annotated[float, Field(gt=1, le=200)] = 25.0
    window: Literal["hann", "hamming"] = "hann"
    hop_ms: Annotated[float, Field(gt=0.5, le=100)] = 10.0
    normalization: Literal["range", "utterance"] = "utterance"
    stack: Annotated[int, Field(ge=1, le=8)] = 1


class Task(Section):
    """What is asked of the model.

    Attributes:
        kind: ``classify`` names the phoneme of an excised token; ``recognize`` writes down the
            phonemes of an utterance (CTC).
        phonemes: The phonemes to tell apart; all of the corpus when left out (``recognize`` only).
        beam: Readings that a beam search with the phoneme n-gram of the training phonemes keeps
            wherever the run is read and nobody says otherwise (``recognize`` only). Left out, runs
            are read by the best path, and those trained with ``objective: crf`` by a wide beam.
        token_ms: Length of a token in milliseconds.
        onset_ms: Where in the token the phoneme begins, in milliseconds.
    """

    kind: Literal["classify", "recognize"]
    phonemes: tuple[str, ...] | None = None
    beam: Annotated[int, Field(ge=1)] | None = None
    token_ms: Annotated[float, Field(gt=0)] = 150.0
    onset_ms: Annotated[float, Field(ge=0)] = 60.0

    @model_validator(mode="after")
    def _classification_names_its_phonemes(self) -> Task:
        if self.kind == "classify" and not self.phonemes:
            raise ValueError("task.phonemes must list the phonemes to tell apart")
        if self.phonemes and len(set(self.phonemes)) != len(self.phonemes):
            raise ValueError("task.phonemes names a phoneme twice")
        if self.kind == "classify" and self.beam is not None:
            raise ValueError(
                f"task.beam: found {self.beam}, but tokens (task.kind: classify) have no beam "
                "search; expected none"
            )
        return self


class Recipe(Section):
    """A whole run as data; ``model_dump(mode="json")`` gives plain types."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    corpus: Corpus
    features: Features = Features()
    task: Task
    model: Model = Model()
    training: Training

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        check_networks(self)
        for stage in self.training.stages:
            check_stage(self, stage)
        return self
