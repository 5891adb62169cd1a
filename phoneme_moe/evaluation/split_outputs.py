"""Model outputs for a split, to be decoded and scored with different settings.

Legend: T frames, P outputs with the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.data.speakers import split_speakers
from phoneme_moe.decoding.decoder import Decoding, confidences
from phoneme_moe.decoding.scoring import correct_phonemes, total_score
from phoneme_moe.evaluation.errors import score_hypotheses
from phoneme_moe.inference import recognize_examples
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.model_spec import ModelOutput, ModelSpec
from phoneme_moe.transcription.pieces import decode
from phoneme_moe.transcription.run_engine import spec_of
from phoneme_moe.transcription.segment_times import TimedHypothesis


@dataclass(frozen=True)
class SplitOutputs:
    """Model outputs for the utterances (or tokens) of a split.

    Attributes:
        spec: Specification of the model.
        examples: The utterances.
        model_outputs: Output for each, batch size 1, without expert weights and timing.
    """

    spec: ModelSpec
    examples: Sequence[Example]
    model_outputs: Sequence[ModelOutput]

    def decode(self, decoding: Decoding, beam: int | None = None) -> list[TimedHypothesis]:
        """The best hypothesis of each utterance.

        Args:
            decoding: Decoding settings.
            beam: Beam width, 0 for greedy decoding; by default that of ``decoding``.
        """
        return decode(self.model_outputs, replace(self.spec, decoding=decoding), beam)

    def decode_greedily(self) -> list[TimedHypothesis]:
        """The greedy hypothesis of each utterance; for a token, its single phoneme."""
        if not self.spec.tokens:
            return self.decode(Decoding())
        span = np.array([[0, 1]])
        return [
            TimedHypothesis([int(output.log_posteriors[0, 0].argmax())], span, span)
            for output in self.model_outputs
        ]

    def error_rate(self, hypotheses: Sequence[TimedHypothesis]) -> float:
        """Phoneme error rate of the hypotheses, one per utterance (for tokens: error rate)."""
        phonemes = [self.spec.phonemes.decode(hypothesis.outputs) for hypothesis in hypotheses]
        scores = score_hypotheses(zip(self.examples, phonemes, strict=True))
        return total_score(list(scores.values())).error_rate

    def confidences(
        self, hypotheses: Sequence[TimedHypothesis], temperature: float
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Confidence of every recognised phoneme, and whether it is correct, shape (phonemes,)."""
        all_confidences: list[NDArray[np.floating]] = [np.empty(0)]
        correct = [np.empty(0, bool)]
        for example, output, hypothesis in zip(
            self.examples, self.model_outputs, hypotheses, strict=True
        ):
            log_posteriors = output.log_posteriors[0]
            all_confidences.append(
                confidences(log_posteriors, hypothesis.outputs, hypothesis.spans, temperature)
            )
            phonemes = self.spec.phonemes.decode(hypothesis.outputs)
            correct.append(np.array(correct_phonemes(example.phonemes, phonemes), bool))
        return np.concatenate(all_confidences), np.concatenate(correct)


def infer_split(
    run: LoadedRun,
    corpus: PreparedCorpus,
    split: str,
    speakers: Sequence[str] | None = None,
    num_shifts: int = 1,
) -> SplitOutputs:
    """Runs a model on a split.

    Args:
        run: The run.
        corpus: Its corpus.
        split: ``train``, ``dev`` or ``test``.
        speakers: Speakers to use; by default those of ``split_speakers``.
        num_shifts: Number of passes over the input, each shifted by one more feature frame.

    Raises:
        InputError: The split has no usable utterance.
    """
    recognizer = run.recognizer
    if speakers is None:
        speakers = split_speakers(run.recipe, corpus)
    examples = load_examples(run.recipe, corpus, split, recognizer, speakers)
    ordered: list[Example] = []
    model_outputs = []
    no_weights = np.empty((1, 0, 0), np.float32)
    for batch, recognition in recognize_examples(recognizer, examples, num_shifts=num_shifts):
        shifts = [
            (shift.log_posteriors.float().cpu().numpy(), shift.num_frames.tolist())
            for shift in (recognition, *recognition.shifted)
        ]
        for row in range(len(batch.examples)):
            # Copies, since views would keep the whole padded batch in memory.
            first, *shifted = (array[row : row + 1, : n[row]].copy() for array, n in shifts)
            model_outputs.append(ModelOutput(first, no_weights, None, tuple(shifted)))
        ordered += batch.examples
    return SplitOutputs(spec_of(run), ordered, model_outputs)
