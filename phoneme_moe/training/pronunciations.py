"""Choice of the likeliest pronunciation of each word by the model that is being trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from phoneme_moe.data.examples import Example
from phoneme_moe.inference import recognize_examples
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.training.objectives import sequence_log_probability


@torch.no_grad()
def with_likeliest_pronunciations(
    recognizer: Recognizer, examples: Sequence[Example]
) -> list[Example]:
    """Replaces the phonemes of examples by the likeliest pronunciation of every word.

    Each word is decided by itself: its alternatives are compared, by the probability of the whole
    utterance over all alignments, with the first pronunciations of all other words.

    Args:
        recognizer: The model after earlier stages; its mode is restored.
        examples: Training examples; those without alternatives stay as they are.
    """
    was_training = recognizer.training
    recognizer.eval()
    chosen: dict[str, tuple[str, ...]] = {}
    several = [example for example in examples if example.pronunciations]
    if several:
        for batch, recognition in recognize_examples(recognizer, several, batch_size=32):
            lengths = recognition.num_frames.tolist()
            for row, example in enumerate(batch.examples):
                log_posteriors = recognition.log_posteriors[row, : lengths[row]]
                chosen[example.utterance] = _likeliest(recognizer, example, log_posteriors)
    recognizer.train(was_training)
    return [
        replace(example, phonemes=chosen.get(example.utterance, example.phonemes))
        for example in examples
    ]


def _likeliest(recognizer: Recognizer, example: Example, log_posteriors: Tensor) -> tuple[str, ...]:
    """The phonemes of an example.

    Args:
        recognizer: The model.
        example: An example with alternatives.
        log_posteriors: Its log posteriors, shape (frames, outputs).
    """
    candidates = list(_one_word_changed(example.pronunciations))
    sequences = [example.phonemes, *(phonemes for _, _, phonemes in candidates)]
    targets = [torch.tensor(recognizer.phonemes.encode(s)) for s in sequences]
    scores = sequence_log_probability(
        log_posteriors.float().expand(len(targets), -1, -1),
        torch.full((len(targets),), len(log_posteriors)),
        torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
        torch.tensor([len(t) for t in targets]),
    ).tolist()
    best = [0] * len(example.pronunciations)
    best_score = [scores[0]] * len(best)
    for (word, alternative, _), score in zip(candidates, scores[1:], strict=True):
        # 0 is the score of a sequence that does not fit into the frames.
        if score < 0 and score > best_score[word]:
            best[word], best_score[word] = alternative, score
    words = zip(example.pronunciations, best, strict=True)
    return tuple(phoneme for word, index in words for phoneme in word[index])


def _one_word_changed(
    words: Sequence[Sequence[Sequence[str]]],
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """All sequences in which one word has another pronunciation than its first."""
    first = [word[0] for word in words]
    for number, word in enumerate(words):
        for alternative, pronunciation in enumerate(word[1:], start=1):
            changed = [*first[:number], pronunciation, *first[number + 1 :]]
            yield number, alternative, tuple(p for word in changed for p in word)
