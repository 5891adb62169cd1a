"""Section ``training`` of a recipe: stages, objectives, teachers, timing net."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.section import Amount, Count, Epochs, FolderName, Section
from phoneme_moe.recipe.training_speech import Augmentation, Stream

Route = Literal["shared", "speaker", "gate"]
Part = Literal["experts", "gate", "encoder"]
Objective = Literal["cross_entropy", "crf", "mse", "cfm", "speaker"]


class Stage(Section):
    """A training stage: trained parts, routing, objective, optimiser.

    Attributes:
        name: Name of the stage in logs.
        train: Parts to train; the others are frozen.
        route: ``speaker`` routes each utterance to the expert of its speaker, ``gate`` by the gate,
            which also routes speakers of dev who are not in training;
            ``shared`` trains one expert on all data, and all experts start as copies of it.
        objective: Loss function. ``cross_entropy``: negative log-likelihood of the reference (CTC
            for utterances). ``crf``: CTC-CRF, the likelihood with a phoneme trigram, normalised
            over all phoneme sequences (``decoding.ctc_crf``); for an encoder, with decoding by beam
            search. For tokens also ``mse``, mean squared error of the posteriors, and ``cfm``, the
            classification figure of merit (Hampshire & Waibel 1990). ``speaker`` trains the gate to
            identify the speaker (SID).
        optimizer: ``adamw``; ``muon``, for an encoder: the matrices of its blocks by Muon (Jordan
            et al. 2024), everything else by AdamW, with one learning rate; or ``em``, expectation
            maximisation on the whole training set in each epoch, for linear experts behind a linear
            gate (Jordan & Jacobs 1994).
        epochs: Passes over the training data.
        learning_rate: Peak learning rate of AdamW and Muon; EM has none.
        weight_decay: Weight decay of AdamW and Muon. For ``em``: the precision of a zero-mean
            Gaussian prior, in nats over the whole training set.
        schedule: Learning rate schedule: ``constant``, or ``cosine`` decay to 0 after a
            short warm-up.
        keep: Weights to keep: those of the last epoch, or the best on dev by phoneme errors
            (speaker errors for ``objective: speaker``).
        augmentation: Augmentation of this stage, in place of that of the whole training. Parts that
            distinguish speakers are better trained without changes of the voice.
        blend: Unit of the mixture in the phoneme objective: the posteriors of each ``frame``, or
            the likelihoods of the whole ``utterance`` (``training.objectives``). Inference always
            mixes frames.
        pronunciations: Pronunciation of words for which the lexicon has several: the ``first``, or
            the ``likeliest`` by the model of the stage before (``training.pronunciations``).
        balance: Weight of a penalty on unequal load of the experts (``mixture.routing.imbalance``),
            which prevents the gate from dropping an expert early. Sparse layers have
            ``model.encoder.sparse.balance`` instead.
        consistency: Weight of the divergence between the posteriors of two random augmentations of
            each utterance (CR-CTC, Yao et al. 2024, who take 0.2;
            ``training.objectives.inconsistency``); a step then takes twice as long. 0 for one
            augmentation.
        average: Decay of an exponential moving average of the weights, which is then evaluated on
            dev and saved (Polyak & Juditsky 1992); 0 for none.
    """

    name: FolderName
    train: tuple[Part, ...] = ("experts",)
    route: Route = "gate"
    objective: Objective = "cross_entropy"
    optimizer: Literal["adamw", "muon", "em"] = "adamw"
    epochs: Epochs
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Amount = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    keep: Literal["best", "last"] = "best"
    augmentation: Augmentation | None = None
    blend: Literal["frame", "utterance"] = "frame"
    pronunciations: Literal["first", "likeliest"] = "first"
    balance: Amount = 0.0
    consistency: Amount = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def learns_through_the_mixture(self) -> bool:
        """Whether the loss is computed on the mixture of posteriors in each frame."""
        return self.route == "gate" and self.objective != "speaker" and self.blend == "frame"

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not self.train:
            raise ValueError("train: expected at least one part")
        if self.route != "gate" and "gate" in self.train:
            raise ValueError(
                f"train: a gate that is not used cannot be trained (route: {self.route})"
            )
        if self.route != "gate" and (self.blend == "utterance" or self.balance):
            raise ValueError(f"blend and balance are for a gate (route: {self.route})")
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> Stage:
        if self.objective == "speaker" and (self.route, self.train) != ("gate", ("gate",)):
            raise ValueError(
                "objective: speaker is for the gate alone: found "
                f"route: {self.route} and train: [{', '.join(self.train)}], "
                "expected route: gate and train: [gate]"
            )
        if self.consistency and self.objective not in {"cross_entropy", "crf"}:
            raise ValueError(
                f"consistency compares posteriors: found objective: {self.objective}, expected "
                "cross_entropy or crf"
            )
        if self.blend == "utterance" and self.objective != "cross_entropy":
            raise ValueError(
                f"blend: utterance blends probabilities: found objective: {self.objective}, "
                "expected cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_fits(self) -> Stage:
        if self.optimizer != "em":
            if self.learning_rate is None:
                raise ValueError("learning_rate is missing")
            return self
        if self.learning_rate is not None:
            raise ValueError(f"optimizer: em has no learning_rate: found {self.learning_rate}")
        if self.average:
            raise ValueError(f"optimizer: em has no steps to average over: found {self.average}")
        if self.route != "gate" or set(self.train) != {"experts", "gate"}:
            raise ValueError(
                "optimizer: em trains experts and gate together: found "
                f"route: {self.route} and train: [{', '.join(self.train)}], "
                "expected route: gate and train: [experts, gate]"
            )
        others = self.balance or self.consistency
        if self.objective != "cross_entropy" or self.blend != "frame" or others:
            raise ValueError(
                "optimizer: em maximises the likelihood only: expected "
                "objective: cross_entropy, blend: frame, no balance and no consistency"
            )
        return self


class Timing(Section):
    """The timing net, for start and end times of phonemes (``phoneme_moe.model.timing_net``).

    It is trained after the stages, on the same utterances, and does not affect the recognised
    phonemes.

    Attributes:
        width: Channels.
        epochs: Passes over the training data; increased for small corpora to at least 200 steps.
        learning_rate: Peak learning rate.
        batch_size: Number of utterances in a batch.
        prior_scale: Exponent of the label prior.
    """

    width: Count = 96
    epochs: Epochs = 4
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    batch_size: Count = 16
    prior_scale: Amount = 1.0


class Teacher(Section):
    """What a model learns from beside the reference phonemes; dropped afterwards.

    Either a pretrained encoder, whose hidden states a linear map of the model's last block learns
    to predict (Romero et al. 2015; of speech encoders: Chang et al. 2022); or a run with the same
    phonemes, whose posteriors the model learns to have in every frame (Hinton et al. 2015). Targets
    follow changes of speed, but no other augmentation.

    Attributes:
        model: Folder of an encoder in the Hugging Face layout, or its name on the hub.
        run: Folder of a run that recognises the same phonemes.
        sha256: Hash of ``model.safetensors``; found and stored in the run by training.
        layer: Hidden state that is predicted: the ``last``, or that of a layer by number.
        weight: Weight in the loss of the prediction error, or of the cross-entropy per frame.
        hidden: Size of a hidden state; found and stored in the run by training.
        num_layers: Number of layers; found and stored in the run by training.
    """

    model: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    run: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    layer: Literal["last"] | Annotated[int, Field(ge=0, le=1_000)] = "last"
    weight: Annotated[float, Field(gt=0, le=1_000)] = 1.0
    hidden: Annotated[int, Field(ge=1, le=100_000)] | None = None
    num_layers: Annotated[int, Field(ge=1, le=1_000)] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Teacher:
        if (self.model is None) == (self.run is None):
            found = "both" if self.model else "neither"
            raise ValueError(f"found {found} of model and run, expected one of them")
        return self


SoundSpeed = Annotated[float, Field(ge=0.5, le=2)]


class Training(Section):
    """Training of the model.

    Attributes:
        batch_size: Number of utterances (or tokens) in a batch.
        precision: Numerical precision of training; the mixture itself is computed in float32.
        gradient_clip: Maximum norm of the gradient.
        augmentation: Data augmentation.
        sound_speeds: Speeds at which the recordings of the training split are played besides their
            own, such as 0.9 and 1.1, with pitch and formants (Ko et al. 2015). In each epoch an
            utterance has one of all its speeds. Features are computed, and kept, for each.
        stages: The training stages, in order.
        timing: The timing net; null for none. Token classifiers do not have one.
        teacher: What an encoder (``model.encoder``) learns from besides; nothing by default.
        stream: How training utterances are read from shards; by default all are in memory, or
            their features on disk.
        initial_weights: A run whose weights the model begins with, those that have the same name
            in both, such as the layers above a pretrained encoder; by default they are random.
    """

    batch_size: Count = 48
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    gradient_clip: Annotated[float, Field(gt=0)] = 5.0
    augmentation: Augmentation = Augmentation()
    sound_speeds: tuple[SoundSpeed, ...] = ()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=99)]
    timing: Timing | None = Timing()
    teacher: Teacher | None = None
    stream: Stream | None = None
    initial_weights: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None

    def augmentation_of(self, stage: Stage) -> Augmentation:
        """Augmentation in effect in a stage."""
        return self.augmentation if stage.augmentation is None else stage.augmentation

    @property
    def learns_with_ngram(self) -> bool:
        """Whether the model is trained with an n-gram (CTC-CRF)."""
        return self.stages[-1].objective == "crf"

    @model_validator(mode="after")
    def _teacher_follows_the_augmentation(self) -> Training:
        quiet = any(self.augmentation_of(stage).quiet_ends for stage in self.stages)
        if self.teacher is not None and quiet:
            raise ValueError(
                "teacher: its targets do not follow augmentation.quiet_ends: expected 0"
            )
        return self

    @model_validator(mode="after")
    def _speeds_differ(self) -> Training:
        speeds = (1.0, *self.sound_speeds)
        if len(set(speeds)) < len(speeds):
            raise ValueError(
                f"sound_speeds: found {list(self.sound_speeds)}, expected different speeds without "
                "1, which every recording has"
            )
        if self.sound_speeds and self.teacher is not None:
            raise ValueError(
                "sound_speeds: found some with a teacher, whose targets have the speed of the "
                "recording; expected none"
            )
        if self.sound_speeds and any(stage.optimizer == "em" for stage in self.stages):
            raise ValueError("sound_speeds: EM needs the same features in every epoch")
        return self

    @model_validator(mode="after")
    def _one_view_with_a_teacher(self) -> Training:
        for stage in self.stages:
            if self.teacher is not None and stage.consistency:
                raise ValueError(
                    f"stages.{stage.name}.consistency: found {stage.consistency:g} with a teacher, "
                    "whose targets are of one augmentation; expected 0"
                )
        return self

    @model_validator(mode="after")
    def _a_model_chooses_pronunciations(self) -> Training:
        if self.stages[0].pronunciations == "likeliest":
            raise ValueError(
                f"stages.{self.stages[0].name}.pronunciations: found likeliest, but there is no "
                "stage before it whose model could choose; expected first"
            )
        return self

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Training:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self
