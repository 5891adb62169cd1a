"""Sections ``corpus`` and ``task`` of a recipe, and the recipe itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from phoneme_moe.errors import suggest
from phoneme_moe.recipe.cross_checks import (
    check_networks,
    check_stage,
    check_stream,
    check_teacher,
)
from phoneme_moe.recipe.features import AnyFeatures, Features
from phoneme_moe.recipe.model import Model
from phoneme_moe.recipe.section import FolderName, Milliseconds, Section
from phoneme_moe.recipe.training import Training
from phoneme_moe.recipe.weights import check_weights

MAX_WEIGHT = 100
"""Most times that an epoch has an utterance."""


def _pairs(weights: Any) -> Any:
    return tuple(weights.items()) if isinstance(weights, dict) else weights


Weights = Annotated[
    tuple[tuple[str, float], ...],
    BeforeValidator(_pairs),
    PlainSerializer(dict, return_type=dict[str, float]),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}}),
]
"""Numbers by name, a mapping in files; pairs here, since recipes are hashable."""


class Corpus(Section):
    """Training and test data.

    Attributes:
        name: Name of a prepared corpus (``phoneme-moe corpora list``).
        names: Names of several prepared corpora, in place of ``name``, which becomes all of them
            with ``+`` between. Utterances and speakers are then named ``librispeech/1088``.
        weights: How often an epoch has each utterance of a corpus, by name of the corpus; 1 by
            default. For 0.5, every epoch draws another half.
        speakers: Speakers to use; all speakers of the corpus by default.
        held_out_speakers: Test speakers that are excluded from training and dev.
        max_utterances: Maximum number of utterances per speaker and split, selected by a hash of
            their ids; also of those from which the n-gram is estimated.
        snr_db: Signal-to-noise ratio of added white noise in decibels; no noise by default.
        noise_seed: Random seed of the noise, combined with the id of the utterance.
        embeddings: A safetensors file with an embedding of each utterance or speaker, for routers
            that use them (``sees: embedding``).
    """

    # One of the two is required.
    model_config = ConfigDict(
        json_schema_extra={
            "required": [],
            "anyOf": [{"required": ["name"]}, {"required": ["names"]}],
        }
    )

    name: str
    names: tuple[str, ...] = ()
    weights: Weights = ()
    speakers: tuple[str, ...] | None = None
    held_out_speakers: tuple[str, ...] = ()
    max_utterances: Annotated[int, Field(ge=1)] | None = None
    snr_db: Annotated[float, Field(ge=-200, le=200)] | None = None
    noise_seed: int = 0
    embeddings: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_are_joined(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("name") and data.get("names"):
            names = data["names"]
            if isinstance(names, list | tuple) and all(isinstance(n, str) for n in names):
                return {**data, "name": "+".join(names)}
        return data

    @model_validator(mode="after")
    def _names_agree(self) -> Corpus:
        names = self.name.split("+")
        if not all(names):
            raise ValueError(
                f"name: found {self.name!r}, expected the name of a prepared corpus, or names"
            )
        if len(set(names)) != len(names):
            raise ValueError(f"names: found {self.name!r}, with a corpus twice")
        if self.names and list(self.names) != names:
            raise ValueError(
                f"name: found {self.name!r}, expected {'+'.join(self.names)!r} as in names"
            )
        if self.weights and len(names) == 1:
            raise ValueError(f"weights: found only one corpus, {self.name}; expected none")
        for name, weight in self.weights:
            if name not in names:
                raise ValueError(
                    f"weights.{name}: no such corpus{suggest(name, names)}; found {self.name}"
                )
            if not 0 < weight <= MAX_WEIGHT:
                raise ValueError(
                    f"weights.{name}: found {weight:g}, expected a number above 0 and at most "
                    f"{MAX_WEIGHT}"
                )
        return self


class LanguageModel(Section):
    """Text from which the phoneme n-gram of beam search learns besides the training utterances.

    The n-grams of both are interpolated, at a weight that gives dev the least perplexity. Training
    itself (``objective: crf``) does not see the text.

    Attributes:
        text: A file with a sentence in each line, in phonemes, or in words with a ``lexicon``; or
            ``english``, a text of the package in the 39 phonemes of speechocean762.
        lexicon: File with the pronunciations of the words of the text.
        unknown_words: Words outside the lexicon: ``skip`` leaves out their sentences, ``g2p``
            guesses their pronunciations, ``refuse`` ends with an error.
    """

    text: Annotated[str, Field(min_length=1, max_length=1_000)]
    lexicon: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    unknown_words: Literal["refuse", "skip", "g2p"] = "skip"


class Task(Section):
    """The task of the model.

    Attributes:
        kind: ``classify`` an excised token as a phoneme; ``recognize`` the phonemes of an utterance
            (CTC).
        phonemes: The phoneme set; by default that of the corpus (``recognize`` only).
        beam: Default beam width for decoding with the phoneme n-gram of the training data
            (``recognize`` only). By default decoding is greedy, except after training with
            ``objective: crf``, where a beam is chosen on dev.
        language_model: Text for that n-gram (``recognize`` only); none by default.
        token_ms: Length of a token in milliseconds.
        onset_ms: Start of the phoneme within the token in milliseconds.
    """

    kind: Literal["classify", "recognize"]
    phonemes: tuple[str, ...] | None = None
    beam: Annotated[int, Field(ge=1, le=4_096)] | None = None
    language_model: LanguageModel | None = None
    token_ms: Annotated[float, Field(gt=0, le=60_000)] = 150.0
    onset_ms: Milliseconds = 60.0

    @model_validator(mode="after")
    def _classification_names_its_phonemes(self) -> Task:
        if self.kind == "classify" and not self.phonemes:
            raise ValueError("task.phonemes must list the phonemes to classify")
        if self.phonemes and len(set(self.phonemes)) != len(self.phonemes):
            raise ValueError("task.phonemes contains a phoneme twice")
        if self.kind == "classify" and self.onset_ms > self.token_ms:
            raise ValueError(
                f"task.onset_ms: found {self.onset_ms}, expected at most token_ms, {self.token_ms}"
            )
        if self.kind == "classify" and self.beam is not None:
            raise ValueError(
                f"task.beam: found {self.beam}, but tokens (task.kind: classify) have no beam "
                "search; expected none"
            )
        if self.kind == "classify" and self.language_model is not None:
            raise ValueError(
                "task.language_model: tokens (task.kind: classify) have no beam search; expected "
                "none"
            )
        return self


class Recipe(Section):
    """The configuration of a run.

    Attributes:
        name: Name of the recipe, and of the run folder by default (``runs/NAME``).
        description: What it is, in one line.
        seed: Random seed of weights, batches and augmentation.
        corpus: Training and test data.
        features: The input of the model: log mel features, or those of a pretrained encoder.
        task: The task of the model.
        model: Experts and a gate, or an encoder with sparse layers.
        training: Stages, batches, augmentation.
    """

    name: FolderName
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    corpus: Corpus
    features: AnyFeatures = Features()
    task: Task
    model: Model = Model()
    training: Training

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        check_networks(self)
        for stage in self.training.stages:
            check_stage(self, stage)
        check_teacher(self)
        check_stream(self)
        check_weights(self)
        return self
