from __future__ import annotations

import numpy as np
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import load_examples
from phoneme_moe.inference import decode_phonemes, recognize_examples, recognize_split
from phoneme_moe.pipeline import Trained


def test_a_split_gives_each_utterance_what_it_gets_alone(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    recognizer = recognized.run.recognizer
    examples = load_examples(recognized.run.recipe, tones, "test", recognizer)
    utterances = list(recognize_split(recognizer, examples, batch_size=5, layers=[None]))
    assert sorted(u.example.utterance for u in utterances) == sorted(e.utterance for e in examples)
    for utterance in utterances:
        ((_, alone),) = recognize_examples(recognizer, [utterance.example])
        assert [utterance.hypothesis] == decode_phonemes(recognizer, alone)
        torch.testing.assert_close(
            utterance.log_posteriors, alone.log_posteriors[0], atol=1e-4, rtol=1e-4
        )
        weights = alone.routing.weights[0].numpy()
        np.testing.assert_allclose(utterance.weights[None], weights, atol=1e-4)
        assert alone.expert_log_posteriors is not None
        assert utterance.expert_log_posteriors is not None
        assert utterance.expert_log_posteriors.shape == alone.expert_log_posteriors.shape[1:]
