"""Two runs made ready for comparison: the same utterances, and what either says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.errors import InputError
from phoneme_moe.inference import decode_phonemes, recognize_examples
from phoneme_moe.run_folder import LoadedRun


@dataclass(frozen=True, eq=False)
class Side:
    """One run, and what it says of the utterances.

    Attributes:
        run: The run.
        layer: Whose routing is compared; None is the gate's.
        experts: Its experts by name; None where the run does not route.
        hypotheses: What it recognises in each utterance, by identifier.
        weights: Routing of each utterance, shape (rows, experts), each row sums to 1.
    """

    run: LoadedRun
    layer: str | None
    experts: tuple[str, ...] | None
    hypotheses: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def routes(self) -> bool:
        """Whether there is anything to compare of its routing."""
        return self.experts is not None

    def hear(self, examples: list[Example]) -> None:
        """Recognises the examples and keeps what is said of each."""
        recognizer = self.run.recognizer
        decoding = self.run.decoding
        for batch, recognition in recognize_examples(
            recognizer, examples, num_shifts=decoding.shifts_for(None)
        ):
            num_frames = recognition.num_frames.tolist()
            hypotheses = decode_phonemes(recognizer, recognition, decoding)
            for example, hypothesis in zip(batch.examples, hypotheses, strict=True):
                self.hypotheses[example.utterance] = hypothesis
            if not self.routes:
                continue
            weights = recognition.routing_of(self.layer).weights.float().cpu().numpy()
            for row, example in enumerate(batch.examples):
                # A copy: a view would keep the padding of the whole batch.
                own = weights[row, : num_frames[row]].copy()
                total = own.sum(axis=1, keepdims=True)
                self.weights[example.utterance] = own / total


def same_phonemes(a: LoadedRun, b: LoadedRun) -> bool:
    """Whether both runs tell the same phonemes apart."""
    return set(a.recognizer.phonemes.symbols) == set(b.recognizer.phonemes.symbols)


def open_side(run: LoadedRun, layer: str | None) -> Side:
    """A run that has not been asked yet.

    Args:
        run: The run.
        layer: A sparse layer; the last one when left out.

    Raises:
        InputError: There is no such layer.
    """
    recognizer = run.recognizer
    try:
        found, experts = recognizer.routed_layer(layer)
    except InputError as error:
        raise InputError(f"{run.folder}: {error}") from error
    routes = found is not None or recognizer.gate is not None or recognizer.gate_is_speaker
    return Side(run, found, experts if routes and len(experts) > 1 else None)


def common_corpus(a: LoadedRun, b: LoadedRun) -> str:
    """The corpus that both runs were trained on.

    Raises:
        InputError: There are two.
    """
    names = [run.recipe.corpus.name for run in (a, b)]
    if names[0] != names[1]:
        raise InputError(
            f"--corpus: {a.folder} was trained on {names[0]} and {b.folder} on {names[1]}; "
            "expected the name of a prepared corpus to compare both on"
        )
    return names[0]


def check_comparable(a: Side, b: Side) -> None:
    """Whether there is anything to compare.

    Raises:
        InputError: The tasks differ; or the phonemes do, and there is no routing either.
    """
    kinds = [side.run.recipe.task.kind for side in (a, b)]
    if kinds[0] != kinds[1]:
        does = {"classify": "names tokens", "recognize": "writes down utterances"}
        raise InputError(
            f"{a.run.folder} {does[kinds[0]]} and {b.run.folder} {does[kinds[1]]}: "
            "expected two runs of the same task"
        )
    if same_phonemes(a.run, b.run) or (a.routes and b.routes):
        return
    missing = [
        f"{len(set(one) - set(other))} only in {side.run.folder}"
        for side, one, other in (
            (a, a.run.recognizer.phonemes.symbols, b.run.recognizer.phonemes.symbols),
            (b, b.run.recognizer.phonemes.symbols, a.run.recognizer.phonemes.symbols),
        )
    ]
    raise InputError(
        f"phoneme sets differ ({', '.join(missing)}), so error rates cannot be compared, and not "
        "both runs route: nothing is left to compare"
    )


def same_examples(
    run_a: LoadedRun, run_b: LoadedRun, corpus: PreparedCorpus, split: str, step: Callable[[], None]
) -> tuple[list[Example], list[Example]]:
    """What both runs can be asked about, in the same order, each with its own features.

    Args:
        run_a: The first run.
        run_b: The second run.
        corpus: Whose utterances.
        split: ``train``, ``dev`` or ``test``.
        step: Called twice on the way.

    Raises:
        InputError: Nothing of the split is meant for both.
    """
    of_a, of_b = (split_speakers(run.recipe, corpus, run.recognizer) for run in (run_a, run_b))
    wanted = sorted(set(of_a) & set(of_b))
    if not wanted:
        raise InputError(
            f"corpus {corpus.name}: no speaker is meant for both {run_a.folder} and {run_b.folder}"
        )
    examples_a = load_examples(run_a.recipe, corpus, split, run_a.recognizer, wanted)
    step()
    examples_b = (
        examples_a
        if _hear_alike(run_a, run_b)
        else load_examples(run_b.recipe, corpus, split, run_b.recognizer, wanted)
    )
    step()
    by_name = {example.utterance: example for example in examples_b}
    common = [example for example in examples_a if example.utterance in by_name]
    if not common:
        raise InputError(
            f"corpus {corpus.name}: the {split} split has nothing that both {run_a.folder} and "
            f"{run_b.folder} can use"
        )
    return common, [by_name[example.utterance] for example in common]


def _hear_alike(a: LoadedRun, b: LoadedRun) -> bool:
    """Whether the same sound gives both the same examples, so that once is enough."""
    return (
        a.recipe.features == b.recipe.features
        and a.recipe.task == b.recipe.task
        and a.recipe.corpus == b.recipe.corpus
        and a.recognizer.embedding_size == b.recognizer.embedding_size
        and a.recognizer.phonemes.symbols == b.recognizer.phonemes.symbols
    )
