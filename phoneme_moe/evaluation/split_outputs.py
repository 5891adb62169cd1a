"""What a run says of the utterances of a split, and what is read off that.

Legend: T frames, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.decoder import Decoding, confidences
from phoneme_moe.decoding.scoring import Score, correct_phonemes, score_utterance, total_score
from phoneme_moe.inference import recognize_examples
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.model_spec import ModelOutput
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.run_engine import spec_of
from phoneme_moe.transcription.segment_times import TimedHypothesis


@dataclass(frozen=True)
class SplitOutputs:
    """What a run says of the utterances of a split.

    Attributes:
        examples: The utterances.
        heard: Of each by itself.
    """

    examples: Sequence[Example]
    heard: Sequence[ModelOutput]

    def __len__(self) -> int:
        return len(self.examples)


def infer_split(
    run: LoadedRun,
    corpus: PreparedCorpus,
    split: str,
    speakers: Sequence[str] | None = None,
    num_shifts: int = 1,
) -> SplitOutputs:
    """What a run says of a split.

    Args:
        run: The run.
        corpus: Its corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Speakers to use; as ``split_speakers`` says when left out.
        num_shifts: Passes over the input, each shifted by one more feature frame.

    Raises:
        InputError: Nothing of the split can be used.
    """
    recognizer = run.recognizer
    if speakers is None:
        speakers = split_speakers(run.recipe, corpus)
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    ordered: list[Example] = []
    heard = []
    nothing = np.empty((1, 0, 0), np.float32)
    for batch, said in recognize_examples(recognizer, examples, num_shifts=num_shifts):
        several = [
            (own.log_posteriors.float().cpu().numpy(), own.num_frames.tolist())
            for own in (said, *said.shifted)
        ]
        for row in range(len(batch.examples)):
            # Copies: views would keep the padding of the whole batch.
            first, *others = (own[row : row + 1, : n[row]].copy() for own, n in several)
            heard.append(ModelOutput(first, nothing, None, tuple(others)))
        ordered += batch.examples
    return SplitOutputs(ordered, heard)


def decode_split(
    run: LoadedRun, split: SplitOutputs, decoding: Decoding, beam: int | None = None
) -> list[TimedHypothesis]:
    """Readings of all utterances; by the best path without a beam."""
    return decode(split.heard, replace(spec_of(run), decoding=decoding), beam)


def score_split(run: LoadedRun, split: SplitOutputs, readings: Sequence[TimedHypothesis]) -> Score:
    """Errors of readings of all utterances."""
    phonemes = run.recognizer.phonemes
    return total_score(
        [
            score_utterance(example.phonemes, phonemes.decode(reading.outputs))
            for example, reading in zip(split.examples, readings, strict=True)
        ]
    )


def greedy_split(run: LoadedRun, split: SplitOutputs) -> list[TimedHypothesis]:
    """Greedy readings; of tokens, their one phoneme."""
    if run.recognizer.task.kind != "classify":
        return decode_split(run, split, Decoding())
    span = np.array([[0, 1]])
    return [
        TimedHypothesis([int(heard.log_posteriors[0, 0].argmax())], span, span)
        for heard in split.heard
    ]


def confidences_and_correct(
    run: LoadedRun, split: SplitOutputs, readings: Sequence[TimedHypothesis], temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence of every phoneme that is recognised, and whether it was said."""
    sure: list[NDArray[Any]] = [np.empty(0)]
    right = [np.empty(0, bool)]
    phonemes = run.recognizer.phonemes
    for example, heard, reading in zip(split.examples, split.heard, readings, strict=True):
        sure.append(
            confidences(heard.log_posteriors[0], reading.outputs, reading.spans, temperature)
        )
        hypothesis = phonemes.decode(reading.outputs)
        right.append(np.array(correct_phonemes(example.phonemes, hypothesis), bool))
    return np.concatenate(sure), np.concatenate(right)
