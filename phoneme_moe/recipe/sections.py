"""The sections of a recipe, frozen and strict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Route = Literal["shared", "speaker", "gate"]
Part = Literal["experts", "gate"]


class Section(BaseModel):
    """A part of a recipe: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
    """

    name: str
    speakers: tuple[str, ...] | None = None
    held_out_speakers: tuple[str, ...] = ()
    max_utterances: Annotated[int, Field(ge=1)] | None = None
    snr_db: float | None = None
    noise_seed: int = 0


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
        token_ms: Length of a token in milliseconds.
        onset_ms: Where in the token the phoneme begins, in milliseconds.
    """

    kind: Literal["classify", "recognize"]
    phonemes: tuple[str, ...] | None = None
    token_ms: Annotated[float, Field(gt=0)] = 150.0
    onset_ms: Annotated[float, Field(ge=0)] = 60.0

    @model_validator(mode="after")
    def _classification_names_its_phonemes(self) -> Task:
        if self.kind == "classify" and not self.phonemes:
            raise ValueError("task.phonemes must list the phonemes to tell apart")
        if self.phonemes and len(set(self.phonemes)) != len(self.phonemes):
            raise ValueError("task.phonemes names a phoneme twice")
        return self


class Network(Section):
    """A time-delay neural network, the shape of every expert and of the gate.

    Attributes:
        kind: ``tdnn_1989``: two sigmoid layers on a token, each class summed over time (Waibel
            1989); ``tdnn``: a stack of residual layers over a whole utterance.
        hidden: Units of the two layers of a ``tdnn_1989``.
        windows: Frames that each of the two layers of a ``tdnn_1989`` looks at.
        width: Channels of each layer of a ``tdnn``.
        dilations: One layer of a ``tdnn`` for each; the step between the frames it looks at.
        kernel: Frames that a layer of a ``tdnn`` looks at.
        dropout: Share of the channels silenced in training.
        bottleneck: Channels through which a layer of a ``tdnn`` sees the one before it; all of them
            when left out. Wide layers through a narrow bottleneck cost a fraction of full ones.
    """

    kind: Literal["tdnn_1989", "tdnn"] = "tdnn"
    hidden: tuple[int, int] = (8, 3)
    windows: tuple[int, int] = (3, 5)
    width: Annotated[int, Field(ge=1)] = 64
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 3)
    kernel: Annotated[int, Field(ge=1)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bottleneck: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> Network:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, found {self.kernel}")
        return self


class Model(Section):
    """Experts and the gate before them.

    Attributes:
        num_experts: A number, or ``speakers``: one expert for each training speaker.
        expert: The network of every expert.
        gate: The network of the gate; none for a single expert.
    """

    num_experts: Annotated[int, Field(ge=1)] | Literal["speakers"] = 1
    expert: Network = Network()
    gate: Network | None = None

    @model_validator(mode="after")
    def _several_experts_need_a_gate(self) -> Model:
        if self.num_experts != 1 and self.gate is None:
            raise ValueError("model.gate is needed to choose among several experts")
        if self.num_experts == 1 and self.gate is not None:
            raise ValueError("model.gate has nothing to choose among: model.num_experts is 1")
        return self


class Augmentation(Section):
    """What is changed at random in every training utterance, each time anew.

    Attributes:
        quiet_ends: Share of the utterances whose quiet ends are cut off, a random part of each:
            recordings of training and of use may have been cut differently.
        speed: Spoken up to this share faster or slower (time axis of the features stretched).
        vocal_tract: Vocal tract up to this share longer or shorter (mel axis stretched).
        time_masks: Stretches of frames blanked out (SpecAugment, Park et al. 2019).
        time_mask_ms: Longest of them in milliseconds.
        band_masks: Ranges of mel bands blanked out.
        band_mask_bands: Widest of them in bands.
    """

    quiet_ends: Annotated[float, Field(ge=0, le=1)] = 0.0
    speed: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    vocal_tract: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_mask_ms: Annotated[float, Field(ge=0)] = 50.0
    band_masks: Annotated[int, Field(ge=0)] = 0
    band_mask_bands: Annotated[int, Field(ge=0)] = 6


class Stage(Section):
    """One stage of training: which parts learn, and who routes.

    Attributes:
        name: What the stage is called in logs.
        train: The parts whose weights change; the rest is frozen.
        route: ``speaker`` sends each utterance to its own speaker's expert, ``gate`` asks the gate;
            ``shared`` trains one expert on everybody, and all experts begin as copies of it.
        epochs: Passes over the training data.
        learning_rate: Peak step size of AdamW.
        weight_decay: Decay of the weights per step, relative to the learning rate.
        schedule: ``constant``, or ``cosine`` from the peak down to nothing after a short warm-up.
        keep: The weights that the stage ends with: of its last epoch, or of its best on dev.
        augmentation: What is changed at random in this stage, instead of the training's. Parts that
            should tell speakers apart are better off without changed voices.
        blend: What the gate's weights blend in the phoneme objective: the experts' posteriors of
            each ``frame``, or the probabilities that they give the whole ``utterance``
            (``training.objectives``). Recognition always blends frames.
        balance: Weight of a penalty on unequal load of the experts (``mixture.routing.imbalance``);
            without it a gate may leave an expert alone before it can tell speakers apart.
    """

    name: str
    train: tuple[Part, ...] = ("experts",)
    route: Route = "gate"
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    keep: Literal["best", "last"] = "best"
    augmentation: Augmentation | None = None
    blend: Literal["frame", "utterance"] = "frame"
    balance: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not self.train:
            raise ValueError("train must name at least one part")
        if self.route != "gate" and "gate" in self.train:
            raise ValueError(f"the gate learns nothing where it is not asked (route: {self.route})")
        if self.route != "gate" and (self.blend == "utterance" or self.balance):
            raise ValueError(f"blend and balance are for a gate (route: {self.route})")
        return self


class Training(Section):
    """How the stages are run.

    Attributes:
        batch_size: Utterances (or tokens) in a step.
        precision: Arithmetic of the step; the mixture itself stays in float32.
        gradient_clip: Longest gradient that a step may take.
        augmentation: What is changed at random in training utterances.
        stages: The stages in order.
    """

    batch_size: Annotated[int, Field(ge=1)] = 48
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    gradient_clip: Annotated[float, Field(gt=0)] = 5.0
    augmentation: Augmentation = Augmentation()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    def augmentation_of(self, stage: Stage) -> Augmentation:
        """What is changed at random in a stage."""
        return self.augmentation if stage.augmentation is None else stage.augmentation

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Training:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
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
        networks = [n for n in (self.model.expert, self.model.gate) if n is not None]
        wanted = "tdnn_1989" if self.task.kind == "classify" else "tdnn"
        for network in networks:
            if network.kind != wanted:
                raise ValueError(
                    f"model: a {network.kind} network cannot {self.task.kind}; use {wanted}"
                )
        if self.task.kind == "classify" and self.features.stack != 1:
            raise ValueError("features.stack must be 1 for task.kind classify")
        if self.task.kind == "classify":
            frames = int(self.task.token_ms / self.features.hop_ms + 1e-6)
            for network in networks:
                if frames < sum(network.windows) - 1:
                    raise ValueError(
                        f"task.token_ms: found {self.task.token_ms} ms, {frames} frames; "
                        f"windows {list(network.windows)} need {sum(network.windows) - 1}"
                    )
        for stage in self.training.stages:
            if stage.route == "speaker" and self.model.num_experts != "speakers":
                raise ValueError(
                    f"training.stages.{stage.name}: route: speaker needs "
                    "model.num_experts: speakers"
                )
            if "gate" in stage.train and self.model.gate is None:
                raise ValueError(f"training.stages.{stage.name}: there is no gate to train")
            if (stage.blend == "utterance" or stage.balance) and self.model.gate is None:
                raise ValueError(f"training.stages.{stage.name}: blend and balance are for a gate")
        return self
