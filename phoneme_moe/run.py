"""Python interface: ``load`` opens a run, whose methods correspond to the commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from phoneme_moe.errors import ArgumentError
from phoneme_moe.run_folder import LoadedRun, load_run

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from phoneme_moe.audio.waveform import Samples
    from phoneme_moe.corpora import PreparedCorpus
    from phoneme_moe.evaluation.errors import Evaluation
    from phoneme_moe.files.compact_weights import WeightBits
    from phoneme_moe.notation.convert import Notation
    from phoneme_moe.report.compare.run import Comparison
    from phoneme_moe.report.run import RunReport
    from phoneme_moe.training.adapt import Adaptation
    from phoneme_moe.transcription.align import Alignment
    from phoneme_moe.transcription.run_engine import RunEngine
    from phoneme_moe.transcription.transcribe import Failure
    from phoneme_moe.transcription.transcript import Transcript


class TranscriptionOptions(TypedDict, total=False):
    """The keywords of ``Run.transcribe``."""

    beam: int | None
    best: bool
    nbest: int
    symbols: Notation | str | Path | None
    fold: str | None
    channel: int | None
    embeddings: str | Path | None
    only_expert: str | None
    without_expert: str | None
    gate_from: str | None
    layer: str | None


@dataclass(frozen=True)
class Run(LoadedRun):
    """A trained run.

    Attributes:
        folder: The run folder.
        recipe: The recipe of the run.
        recognizer: The model with its weights, in evaluation mode.
        decoding: Decoding settings.
    """

    def transcribe(
        self,
        audio: str | Path | ArrayLike,
        sample_rate: int | None = None,
        *,
        beam: int | None = None,
        best: bool = False,
        nbest: int = 1,
        symbols: Notation | str | Path | None = None,
        fold: str | None = None,
        channel: int | None = None,
        embeddings: str | Path | None = None,
        only_expert: str | None = None,
        without_expert: str | None = None,
        gate_from: str | None = None,
        layer: str | None = None,
    ) -> Transcript:
        """Transcribes a recording into phonemes with times, confidence and routing.

        Args:
            audio: Path of an audio file; or amplitudes -1..1, shape (samples,) or (samples,
                channels).
            sample_rate: Samples per second; required for an array only.
            beam: Beam width, 0 for greedy decoding; the run's default if None.
            best: Whether to use the run's slow search with the fewest errors.
            nbest: Length of the n-best list; more than 1 requires a beam.
            symbols: Notation of the phonemes, or a file with a table of symbols; the notation of
                the run's corpus by default.
            fold: Smaller phoneme set to map onto: ``timit39``, ``timit48`` or ``classes``.
            channel: Channel number, from 1; the mean of all channels by default.
            embeddings: A safetensors file with an embedding for each recording, for runs whose
                routers use embeddings.
            only_expert: Names of the experts to route to, separated by commas.
            without_expert: Names of experts to ablate, separated by commas.
            gate_from: Speaker of the run's corpus whose mean gate weights are used in every frame;
                ``uniform`` for equal weights.
            layer: Sparse layer to which the three overrides apply; all layers by default.

        Raises:
            InputError: The audio cannot be used, or an option does not fit the run.
        """
        from phoneme_moe.transcription.transcribe import Options, transcribe_file

        engine = self._engine(only_expert, without_expert, gate_from, layer, best=best)
        options = Options(beam, nbest, symbols, fold, channel, embeddings)
        return transcribe_file(engine, _source(audio, sample_rate), options)

    def transcribe_files(
        self, files: Iterable[str | Path], **options: Unpack[TranscriptionOptions]
    ) -> Iterator[Transcript | Failure]:
        """Transcribes many files in batches, in order; an unusable one gives a ``Failure``.

        Args:
            files: Audio files.
            options: The keywords of ``transcribe``.

        Raises:
            InputError: An option does not fit the run.
        """
        from phoneme_moe.transcription.transcribe import Options, transcribe_files

        names = ("only_expert", "without_expert", "gate_from", "layer")
        override = {name: value for name, value in options.items() if name in names}
        others: dict[str, Any] = {k: v for k, v in options.items() if k not in names}
        engine = self._engine(
            *(cast("str | None", override.get(name)) for name in names),
            best=others.pop("best", False),
        )
        return transcribe_files(engine, map(Path, files), Options(**others))

    def align(
        self,
        audio: str | Path | ArrayLike,
        phonemes: str | Sequence[str] | None = None,
        sample_rate: int | None = None,
        *,
        text: str | None = None,
        lexicon: str | Path | None = None,
        textgrid: str | Path | None = None,
        tier: str | None = None,
        symbols: Notation | str | Path | None = None,
        channel: int | None = None,
    ) -> Alignment:
        """Aligns a recording with its phonemes, or with a text and a pronunciation dictionary.

        Args:
            audio: As in ``transcribe``.
            phonemes: Phonemes in order: a sequence, or a string separated by spaces.
            sample_rate: Samples per second; required for an array only.
            text: Words in place of phonemes.
            lexicon: Pronunciation dictionary in the format of CMUdict or MFA, required for a text.
            textgrid: A TextGrid or label file with the phonemes; its times are ``labelled``.
            tier: Tier of the TextGrid; by default one with a usual name (phonemes, phones, MAU).
            symbols: Notation of the phonemes that are given and returned, or a file with a table
                of symbols; by default that of the run's corpus.
            channel: Channel number, from 1; the mean of all channels by default.

        Raises:
            InputError: The audio cannot be used, a phoneme or word is unknown, or the recording is
                too short.
        """
        from phoneme_moe.transcription.align import align_labels, align_phonemes, align_text

        if [phonemes, text, textgrid].count(None) != 2:
            raise ArgumentError("phonemes", "expected one of phonemes, a text and a TextGrid")
        engine, source = self._engine(), _source(audio, sample_rate)
        if textgrid is not None:
            from phoneme_moe.labels.recordings import read_phonemes

            return align_labels(
                engine, source, read_phonemes(Path(textgrid), tier), channel, symbols
            )
        if text is not None:
            from phoneme_moe.corpora.lexicon import read_lexicon

            if lexicon is None:
                raise ArgumentError("lexicon", "found none; a text needs a dictionary")
            return align_text(engine, source, text, read_lexicon(Path(lexicon)), channel, symbols)
        sequence = phonemes.split() if isinstance(phonemes, str) else list(phonemes or ())
        return align_phonemes(engine, source, sequence, channel, symbols)

    def evaluate(
        self,
        split: str = "test",
        corpus: str | PreparedCorpus | None = None,
        *,
        beam: int | None = None,
        best: bool = False,
        only_expert: str | None = None,
        without_expert: str | None = None,
        gate_from: str | None = None,
        layer: str | None = None,
    ) -> Evaluation:
        """Computes error rates on a split, overall and by speaker.

        Args:
            split: ``train``, ``dev`` or ``test``.
            corpus: A prepared corpus; that of the run by default.
            beam: As in ``transcribe``.
            best: As in ``transcribe``.
            only_expert: As in ``transcribe``.
            without_expert: As in ``transcribe``.
            gate_from: As in ``transcribe``.
            layer: As in ``transcribe``.

        Raises:
            InputError: The corpus is not prepared or has no phoneme of the model, or an option does
                not fit the run.
        """
        from phoneme_moe.evaluation.errors import evaluate
        from phoneme_moe.routing_override import named_override

        override = named_override(self, only_expert, without_expert, gate_from, layer)
        return evaluate(self, split, corpus, beam=beam, override=override, best=best)

    def calibrate_goodness(self, corpus: PreparedCorpus | None = None) -> Run:
        """Gives a run from before 0.2.0 what ``align`` needs for scores; written into its folder.

        Training does this at its end.

        Args:
            corpus: The corpus whose dev split the scores are calibrated on; that of the run by
                default.

        Returns:
            The same run with ``decoding.goodness``.

        Raises:
            InputError: The run classifies tokens, is a model of the package, or cannot be
                calibrated on the split; or the corpus is not prepared.
        """
        from phoneme_moe.evaluation.goodness_calibration import calibrate_run

        return _as_run(calibrate_run(self, corpus))

    def report(
        self,
        split: str = "test",
        out: str | Path | None = None,
        *,
        corpus: str | None = None,
        layer: str | None = None,
        utterances: Sequence[str] = (),
        progress: Callable[[str], None] = lambda stage: None,
    ) -> RunReport:
        """Writes the routing report of a split: which experts serve which speakers, with tests.

        Args:
            split: ``train``, ``dev`` or ``test``.
            out: Folder to write to; ``report`` in the run folder by default, for a model of the
                package in ``results/NAME``.
            corpus: A prepared corpus; that of the run by default.
            layer: A sparse layer of an encoder; the last one by default.
            utterances: Utterances to show over time, in addition to those selected automatically.
            progress: Called with the name of each stage as it begins.

        Raises:
            InputError: The corpus is not prepared, or a layer or utterance does not exist.
        """
        from phoneme_moe.report.run import report_run

        folder = None if out is None else Path(out)
        return report_run(self, split, folder, corpus, layer, utterances, progress)

    def compare(
        self,
        other: LoadedRun,
        split: str = "test",
        out: str | Path | None = None,
        *,
        corpus: str | None = None,
        layer: str | None = None,
        other_layer: str | None = None,
    ) -> Comparison:
        """Compares this run with another one on the same utterances.

        Args:
            other: The other run; may be the same, to compare two of its layers.
            split: ``train``, ``dev`` or ``test``.
            out: Folder to write to; ``compare/NAME`` in the other run's folder by default, or in
                ``results``.
            corpus: A prepared corpus; the one that both runs were trained on by default.
            layer: A sparse layer of both runs; the last one by default.
            other_layer: Sparse layer of the other run, if it differs.

        Raises:
            InputError: The runs have no corpus, task or utterance in common.
        """
        from phoneme_moe.report.compare.run import compare_runs

        folder = None if out is None else Path(out)
        return compare_runs(self, other, split, corpus, layer, other_layer, folder)

    def export(self, path: str | Path, int8: bool = False) -> Path:
        """Exports the run to an ONNX file, for transcription without torch.

        Args:
            path: Path of the ONNX file.
            int8: Whether weights are quantised to 8 bits.

        Returns:
            The path.

        Raises:
            InputError: The extra ``onnx`` is not installed, or a router cannot be exported.
        """
        from phoneme_moe.transcription.export import export_onnx

        export_onnx(self, Path(path), int8)
        return Path(path)

    def export_run(
        self, folder: str | Path, bits: WeightBits = 16, notes: Sequence[str] = ()
    ) -> Run:
        """Writes a small run folder for use alone, with weights in fewer bits and a model card.

        Args:
            folder: The new folder, which must be missing or empty.
            bits: Bits of a weight: 8, 16 or 32.
            notes: Sentences on what the model is bad at, for its card.

        Returns:
            The new run.

        Raises:
            InputError: The folder is not empty, the run's corpus is not prepared, or a weight is
                too large for 16 bits.
        """
        from phoneme_moe.evaluation.export_run import export_run

        return _as_run(export_run(self, Path(folder), bits, notes))

    def export_web(
        self, folder: str | Path, int8: bool = False, runtime: str | Path | None = None
    ) -> Path:
        """Writes a static web page that recognises phonemes in the browser.

        Args:
            folder: The new folder, which must be missing or empty.
            int8: Whether weights are quantised to 8 bits.
            runtime: Folder of the npm package onnxruntime-web, by default
                ``node_modules/onnxruntime-web``.

        Returns:
            The folder.

        Raises:
            InputError: The folder is not empty, onnxruntime-web or the extra ``onnx`` is missing,
                or the run classifies tokens or takes embeddings.
        """
        from phoneme_moe.report.web.export import export_web

        return export_web(self, Path(folder), int8, None if runtime is None else Path(runtime))

    def adapt(
        self,
        recordings: str | Path,
        speaker: str,
        out: str | Path,
        *,
        new_expert: bool = False,
        lexicon: str | Path | None = None,
        tier: str | None = None,
    ) -> Adaptation[Run]:
        """Adapts the run to a new speaker and writes a new run folder.

        Args:
            recordings: A folder of recordings, each with a TextGrid, ``.lab`` or ``.txt`` of its
                phonemes or words beside it.
            speaker: Name of the new speaker.
            out: The new run folder, which must not exist or be empty.
            new_expert: Whether to add an expert for the speaker; otherwise only the gate is
                trained.
            lexicon: Pronunciation dictionary, if the labels are words.
            tier: Tier of TextGrids; by default one with a usual name (phones, words ...).

        Raises:
            InputError: The run has no trainable gate, or the folder has too few recordings.
        """
        from phoneme_moe.training.adapt import adapt

        adaptation = adapt(
            self,
            speaker,
            Path(recordings),
            Path(out),
            "expert" if new_expert else "gate",
            None if lexicon is None else Path(lexicon),
            tier,
        )
        adapted = dataclasses.replace(adaptation, run=_as_run(adaptation.run))
        return cast("Adaptation[Run]", adapted)

    def _engine(self, *override: str | None, best: bool = False) -> RunEngine:
        from phoneme_moe.routing_override import named_override
        from phoneme_moe.transcription.run_engine import RunEngine

        engine = RunEngine(self, named_override(self, *override))
        if best:
            engine.spec = engine.spec.with_best_search()
        return engine

    def _repr_html_(self) -> str:
        """The model card, for notebooks."""
        from phoneme_moe.evaluation.model_card import model_card
        from phoneme_moe.transcription.writers.html import definitions

        return definitions(str(self.name), model_card(self).lines())


def load(folder: str | Path, device: str = "cpu") -> Run:
    """Opens a run folder: ``phoneme_moe.load("runs/dense").transcribe("a.wav")``.

    Args:
        folder: A run folder written by ``phoneme-moe train``, or name of a model of the package.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        InputError: The folder is not a run folder, has no weights, or was written by a newer
            version.
    """
    return _as_run(load_run(folder, device))


def _as_run(run: LoadedRun) -> Run:
    return Run(run.folder, run.recipe, run.recognizer, run.decoding)


def _source(audio: str | Path | ArrayLike, sample_rate: int | None) -> Path | Samples:
    """A path, or an array with its sample rate."""
    if isinstance(audio, str | Path):
        if sample_rate is not None:
            raise ArgumentError(
                "sample_rate", f"found {sample_rate} for an audio file; expected only for an array"
            )
        return Path(audio)
    if sample_rate is None:
        raise ArgumentError("sample_rate", "found none; expected the rate of the array")
    from phoneme_moe.audio.waveform import Samples

    return Samples(audio, sample_rate)
