"""The model card of a run, from the files in its folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from phoneme_moe.corpora import load_corpus
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.quality import Quality, TimeErrors, read_quality
from phoneme_moe.evaluation.stored_card import CARD, StoredCard, licence_of
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import path_text
from phoneme_moe.model.adaptation import ADAPTATION, AdaptationDocument
from phoneme_moe.model.cost import cost_of
from phoneme_moe.recipe import Adapters, PretrainedFeatures
from phoneme_moe.run_folder import LoadedRun, read_recipe
from phoneme_moe.transcription.bench import Speed
from phoneme_moe.transcription.run_engine import spec_of

SPEED = "speed.json"
"""File that ``phoneme-moe bench`` writes into the run folder."""


class DecodingCard(Document):
    """Decoding settings."""

    temperature: float
    ngram_order: int | None
    ngram_weight: float
    text: str | None = Field(default=None, description="Text that the n-gram learned from, too.")
    text_weight: float | None = Field(
        default=None, description="Share of the text in the n-gram; null without text."
    )
    bonus: float = Field(description="Added to the score of a hypothesis for each phoneme.")
    beam: int | None = Field(description="Beam width; null for greedy decoding.")
    minimum_bayes_risk: bool
    num_shifts: int = Field(description="Passes of test-time augmentation.")


class EncoderCard(Document):
    """The pretrained encoder of a model, which is not among its parameters."""

    model: str = Field(description="Name on the hub, or of its folder.")
    sha256: str | None = Field(description="Hash of its weights.")
    layers: str | int = Field(description="Hidden states that are used: mix, last or a number.")

    def line(self) -> str:
        """The encoder in words."""
        states = {"mix": "a mix of all its layers", "last": "its last layer"}
        used = states.get(str(self.layers), f"its layer {self.layers}")
        return f"{self.model}, frozen, {used}; SHA-256 {self.sha256}"


class ModelCard(Document):
    """phoneme-moe model --json. Values that were not measured are null."""

    model_config = ConfigDict(title="The model card of a run")

    run: str
    recipe: str
    description: str
    task: str
    corpus: str
    licence: str = Field(description="Licence of the training corpus.")
    phonemes: list[str]
    experts: list[str]
    parameters: int = Field(description="Number of parameters, excluding the timing net.")
    active_parameters: int
    multiply_adds_per_second: float | None = Field(description="Multiply-adds per second of sound.")
    frame_ms: float = Field(description="Length of a frame of posteriors.")
    sample_rate: int
    context_seconds: float | None = Field(
        description="Receptive field on either side; null if a part of the model sees the whole "
        "utterance."
    )
    timing: bool = Field(description="Whether the model has a timing net.")
    decoding: DecodingCard
    quality: Quality | None
    speed: Speed | None
    encoder: EncoderCard | None = Field(
        default=None, description="Pretrained encoder; null without one."
    )
    adapters: Adapters | None = Field(
        default=None, description="Section model.adapters of the recipe; null without adapters."
    )
    adaptation: AdaptationDocument | None = Field(
        default=None, description="Adaptation to a new speaker; null if there was none."
    )
    speech: StoredCard | None = Field(
        default=None, description="Speech of each corpus, and limits; of exported runs."
    )

    def lines(self) -> list[tuple[str, str]]:
        """Names and values to print, in order."""
        lines = [
            ("recipe", f"{self.recipe}: {self.description}".rstrip(": ")),
            *self._speech_lines(),
            *([] if self.adaptation is None else [("adapted", self.adaptation.line())]),
            ("task", "token classification" if self.task == "classify" else "utterances (CTC)"),
            ("phonemes", f"{len(self.phonemes)}: {' '.join(self.phonemes)}"),
            ("experts", f"{len(self.experts)}"),
            *([] if self.encoder is None else [("encoder", self.encoder.line())]),
            *([] if self.adapters is None else [("adapters", self._adapters(self.adapters))]),
            ("size", self._size()),
            ("frames", f"{self.frame_ms:.0f} ms, from {self.sample_rate / 1000:g} kHz audio"),
        ]
        if self.quality is None:
            lines.append(("quality", "not measured: the run has no quality.json"))
        else:
            lines += self._quality_lines(self.quality)
        if self.decoding.ngram_order is not None:
            lines.append(("language model", self._language_model()))
        lines.append(("speed", self._speed()))
        if self.speech is not None:
            lines += [("limits", limit) for limit in self.speech.limits]
        return lines

    def markdown(self, name: str) -> str:
        """The card as a Markdown file.

        Args:
            name: The model's name, as a title.
        """
        facts = [f"- **{key}**: {value}" for key, value in self.lines()]
        use = f"`phoneme-moe transcribe {name} recording.wav`, with the package phoneme-moe."
        return "\n".join([f"# {name}", "", use, "", *facts]) + "\n"

    def _speech_lines(self) -> list[tuple[str, str]]:
        if self.speech is None:
            return [("corpus", f"{self.corpus} (licence: {self.licence})")]
        measure = "errors" if self.task == "classify" else "PER"
        lines = []
        for corpus in self.speech.corpora:
            rate = corpus.error_rate
            result = "" if rate is None else f": {100 * rate:.2f} % {measure}"
            lines.append(
                (
                    "corpus",
                    f"{corpus.name}: trained on {corpus.train.hours:.1f} h of "
                    f"{corpus.train.speakers} speakers ({corpus.train.utterances:,} utterances), "
                    f"tested on {corpus.test.hours:.1f} h of {corpus.test.speakers} speakers"
                    f"{result} (licence: {corpus.licence})",
                )
            )
        return lines

    def _adapters(self, adapters: Adapters) -> str:
        count = len(self.experts)
        experts = "one set of" if count == 1 else f"{count} experts, each a set of"
        kind = "whole matrices" if adapters.rank == "full" else f"adapters of rank {adapters.rank}"
        where = "all layers" if adapters.layers is None else f"the last {adapters.layers} layers"
        gate = "" if count == 1 else ", weighted by a gate once per utterance"
        return f"{experts} {kind} in {where} of the encoder{gate}"

    def _size(self) -> str:
        text = f"{self.parameters:,} parameters"
        if self.active_parameters != self.parameters:
            text += f", {self.active_parameters:,} of them active"
        if self.multiply_adds_per_second is not None:
            millions = self.multiply_adds_per_second / 1e6
            text += f"; {millions:.0f} M multiply-adds per second of sound"
        return text if self.encoder is None else f"{text}; all without the encoder"

    def _quality_lines(self, quality: Quality) -> list[tuple[str, str]]:
        test = quality.test
        rate, other = f"{100 * test.per:.2f} %", None
        if test.per_beam is not None:
            with_beam = f"{100 * test.per_beam:.2f} %"
            if self.decoding.beam is None:
                other = f"{with_beam} with --beam {quality.beam}"
            else:
                rate, other = (
                    f"{with_beam} with a beam of {quality.beam}",
                    f"{rate} with --beam 0",
                )
        if test.per_best is not None:
            best = f"{100 * test.per_best:.2f} % with --best"
            other = best if other is None else f"{other}; {best}"
        rate += f" on {test.utterances} test utterances"
        rate += f", fold: none ({len(self.phonemes)} phonemes)"
        if other is not None:
            rate += f"; {other}"
        calibration = (
            f"calibration error {100 * test.calibration_error_calibrated:.1f} % on test "
            f"(temperature {self.decoding.temperature:g}; "
            f"{100 * test.calibration_error_raw:.1f} % without)"
        )
        return [
            ("error" if self.task == "classify" else "PER", rate),
            ("confidence", calibration),
            *([] if self.task == "classify" else [("times", _times(test.times))]),
        ]

    def _language_model(self) -> str:
        decoding = self.decoding
        line = f"phoneme {decoding.ngram_order}-gram of the training utterances"
        if decoding.text_weight is not None:
            line += f", {100 * decoding.text_weight:.0f} % of it from text: {decoding.text}"
        return f"{line}; weight {decoding.ngram_weight:g}"

    def _speed(self) -> str:
        if self.speed is None:
            return "not measured: phoneme-moe bench RUN"
        speed = self.speed
        text = f"{speed.times_real_time:.0f} times real time, "
        if speed.cold_start_seconds is not None:
            text += f"cold start {speed.cold_start_seconds:.1f} s, "
        memory = "" if speed.memory_mb is None else f"{speed.memory_mb:.0f} MB of memory "
        return f"{text}{memory}on {speed.machine}"


def _times(times: TimeErrors | None) -> str:
    if times is None:
        return "not measured: the corpus has no exact times"
    return "; ".join(
        f"{name}s: median error {edge.median_ms:.0f} ms, "
        f"{100 * edge.within_20_ms:.0f} % within 20 ms"
        for name, edge in (("start", times.start), ("end", times.end))
    )


def model_card(run: LoadedRun) -> ModelCard:
    """The model card of a run.

    Raises:
        InputError: A file in the folder is not valid.
    """
    spec, recognizer, decoding = spec_of(run), run.recognizer, run.decoding
    encoder, ngram = recognizer.encoder, decoding.language_model
    parameters = sum(
        p.numel() for name, p in recognizer.named_parameters() if not name.startswith("timing.")
    )
    cost = None if encoder is None else cost_of(encoder)
    frame_seconds = spec.feature_seconds * spec.stack
    text = run.recipe.task.language_model
    weight = None if ngram is None or ngram.text is None else ngram.text.weight
    return ModelCard(
        run=path_text(run.name),
        recipe=spec.recipe,
        description=run.recipe.description,
        task=recognizer.task.kind,
        corpus=spec.corpus,
        licence=licence_of(spec.corpus),
        phonemes=list(spec.phonemes.symbols),
        experts=list(spec.experts),
        parameters=parameters,
        active_parameters=parameters if cost is None else cost.active,
        multiply_adds_per_second=None if cost is None else cost.multiply_adds / frame_seconds,
        frame_ms=1000 * frame_seconds,
        sample_rate=spec.features["sample_rate"],
        context_seconds=None if spec.context is None else spec.context * frame_seconds,
        timing=recognizer.timing is not None,
        decoding=DecodingCard(
            temperature=decoding.temperature,
            ngram_order=None if ngram is None else ngram.order,
            ngram_weight=decoding.lm_weight,
            text=None if text is None or weight is None else text.text,
            text_weight=weight,
            bonus=decoding.insertion_bonus,
            beam=decoding.beam,
            minimum_bayes_risk=decoding.minimum_bayes_risk,
            num_shifts=decoding.num_shifts,
        ),
        quality=read_quality(run.folder),
        speed=Speed.read_if_present(run.folder / SPEED),
        encoder=_encoder_card(run),
        adapters=run.recipe.model.adapters,
        adaptation=AdaptationDocument.read_if_present(run.folder / ADAPTATION),
        speech=StoredCard.read_if_present(run.folder / CARD),
    )


def _encoder_card(run: LoadedRun) -> EncoderCard | None:
    features = read_recipe(run.folder).features
    if not isinstance(features, PretrainedFeatures):
        return None
    local = Path(features.model).is_absolute()
    return EncoderCard(
        model=Path(features.model).name if local else features.model,
        sha256=features.sha256,
        layers=features.layers,
    )


def test_recordings(corpus: str) -> list[Path]:
    """Recordings of the test split of a prepared corpus.

    Raises:
        InputError: The corpus is not prepared.
    """
    try:
        cuts = load_corpus(corpus).cuts("test")
    except InputError as error:
        raise InputError(
            f"expected audio files, since the model's test recordings are not here: {error}"
        ) from error
    sources = [cut.recording.sources[0].source for cut in cuts]
    return [Path(source) for source in dict.fromkeys(sources)]
