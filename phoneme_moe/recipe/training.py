"""What a recipe may say of training: stages, objectives, what is changed at random."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from phoneme_moe.recipe.section import Section

Route = Literal["shared", "speaker", "gate"]
Part = Literal["experts", "gate", "encoder"]
Objective = Literal["cross_entropy", "crf", "mse", "cfm", "speaker"]


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
        objective: What is made small. ``cross_entropy`` is the surprise at the right phonemes;
            ``crf`` is the surprise at them among all that could have been said, by the model and a
            phoneme trigram together (``decoding.ctc_crf``): of an encoder, which is then read by
            beam search. For tokens there are also ``mse``, the squared error of the posteriors, and
            ``cfm``, how little the right one is ahead (Hampshire & Waibel 1990). ``speaker``
            teaches the gate who speaks, whatever is said (SID).
        optimizer: ``adamw``, in steps of a batch; or ``em``, expectation maximisation on the whole
            training set, an epoch each, for linear experts behind a linear gate (Jordan & Jacobs
            1994).
        epochs: Passes over the training data.
        learning_rate: Peak step size of AdamW; EM has none.
        weight_decay: Decay of the weights per step, relative to the learning rate. For ``em``: the
            precision of a Gaussian prior around 0, in nats of the whole training set.
        schedule: ``constant``, or ``cosine`` from the peak down to nothing after a short warm-up;
            of AdamW.
        keep: The weights that the stage ends with: of its last epoch, or of its best on dev: that
            with the fewest phoneme errors, or speakers misnamed where the objective is ``speaker``.
        augmentation: What is changed at random in this stage, instead of the training's. Parts that
            should tell speakers apart are better off without changed voices.
        blend: What the gate's weights blend in the phoneme objective: the experts' posteriors of
            each ``frame``, or the probabilities that they give the whole ``utterance``
            (``training.objectives``). Recognition always blends frames.
        balance: Weight of a penalty on unequal load of the experts (``mixture.routing.imbalance``);
            without it a gate may leave an expert alone before it can tell speakers apart. Sparse
            layers have ``model.encoder.sparse.balance`` instead.
        average: Decay of an exponential moving average of the weights, which is what dev measures
            and the stage ends with (Polyak & Juditsky 1992); 0 for none.
    """

    name: str
    train: tuple[Part, ...] = ("experts",)
    route: Route = "gate"
    objective: Objective = "cross_entropy"
    optimizer: Literal["adamw", "em"] = "adamw"
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    keep: Literal["best", "last"] = "best"
    augmentation: Augmentation | None = None
    blend: Literal["frame", "utterance"] = "frame"
    balance: Annotated[float, Field(ge=0)] = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def learns_through_the_mixture(self) -> bool:
        """Whether the loss is of what the experts say together, frame by frame."""
        return self.route == "gate" and self.objective != "speaker" and self.blend == "frame"

    @model_validator(mode="after")
    def _something_learns(self) -> Stage:
        if not self.train:
            raise ValueError("train must name at least one part")
        if self.route != "gate" and "gate" in self.train:
            raise ValueError(f"the gate learns nothing where it is not asked (route: {self.route})")
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
        if self.blend == "utterance" and self.objective != "cross_entropy":
            raise ValueError(
                f"blend: utterance blends probabilities: found objective: {self.objective}, "
                "expected cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_fits(self) -> Stage:
        if self.optimizer == "adamw":
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
        if self.objective != "cross_entropy" or self.blend != "frame" or self.balance:
            raise ValueError(
                "optimizer: em raises the likelihood and nothing else: expected "
                "objective: cross_entropy, blend: frame and no balance"
            )
        return self


class Timing(Section):
    """The small net that finds when each phoneme begins (``phoneme_moe.model.timing_net``).

    It is trained after the stages, on the same utterances, and changes nothing of what is
    recognised.

    Attributes:
        width: Its channels.
        epochs: Passes over the training data; more of a small corpus, until it has had 200 steps.
        learning_rate: At its peak.
        batch_size: Utterances in a step.
        prior_scale: Power of the label prior that keeps it from peaking.
    """

    width: Annotated[int, Field(ge=1)] = 96
    epochs: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    batch_size: Annotated[int, Field(ge=1)] = 16
    prior_scale: Annotated[float, Field(ge=0)] = 1.0


class Training(Section):
    """How the stages are run.

    Attributes:
        batch_size: Utterances (or tokens) in a step.
        precision: Arithmetic of the step; the mixture itself stays in float32.
        gradient_clip: Longest gradient that a step may take.
        augmentation: What is changed at random in training utterances.
        stages: The stages in order.
        timing: The net that finds phoneme times; null leaves it out. Where tokens are classified
            there is none.
    """

    batch_size: Annotated[int, Field(ge=1)] = 48
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    gradient_clip: Annotated[float, Field(gt=0)] = 5.0
    augmentation: Augmentation = Augmentation()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    timing: Timing | None = Timing()

    def augmentation_of(self, stage: Stage) -> Augmentation:
        """What is changed at random in a stage."""
        return self.augmentation if stage.augmentation is None else stage.augmentation

    @property
    def learns_with_ngram(self) -> bool:
        """Whether the posteriors say only what an n-gram does not know."""
        return self.stages[-1].objective == "crf"

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Training:
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("two stages have the same name")
        return self
