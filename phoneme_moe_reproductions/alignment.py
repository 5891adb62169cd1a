"""Phoneme times for a corpus without them, from an aligner trained on the corpus itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from phoneme_moe.corpora import SPLITS, PreparedCorpus, data_root, ensure_corpus, load_corpus
from phoneme_moe.corpora.prepare import write_prepared
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.decoding.phonemes import PhonemeSet
from phoneme_moe.decoding.viterbi import force_align, min_num_frames, share_gaps
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.model.timing_net import TimingNet
from phoneme_moe.recipe import Recipe
from phoneme_moe.training.minibatch import Schedule
from phoneme_moe.training.timing_net import fit_timing_net

Times = Mapping[str, Sequence[tuple[float, float]]]
"""By utterance: start and end of each phoneme in seconds."""


@dataclass(frozen=True)
class Aligner:
    """Settings of an aligner; all of them affect the times.

    Attributes:
        sample_rate: In hertz.
        n_mels: Bands.
        hop_ms: Frame shift, the resolution of the times.
        width: Channels of the network, whose receptive field is a single frame: with context it
            could detect a phoneme before it begins, or after its end.
        company: A prepared corpus of other speech with the same phonemes, or more, for joint
            training. In ten words most phonemes always have the same neighbour, so that their
            boundaries are not determined; in sentences they are.
        epochs: Passes over all utterances.
        learning_rate: At its peak.
        batch_size: Utterances in a step.
        prior_scale: Power of the label prior.
        prior_memory: Decay of the running prior per step.
        quiet_db: Leading and trailing sound this far below the loudest part of a recording is
            silence: no phoneme begins or ends in it. Blanks alone do not ensure this.
        seeds: Of weights and order, one aligner each; times are medians over the aligners.
    """

    sample_rate: int = 8000
    n_mels: int = 40
    hop_ms: float = 10.0
    width: int = 96
    company: str | None = None
    epochs: int = 4
    learning_rate: float = 0.01
    batch_size: int = 16
    prior_scale: float = 1.0
    prior_memory: float = 0.99
    quiet_db: float = 30.0
    seeds: tuple[int, ...] = (0,)


def aligned_corpus(
    name: str, aligner: Aligner | None = None, as_name: str | None = None
) -> PreparedCorpus:
    """The corpus ``NAME-aligned``: the same utterances, with a time for every phoneme.

    It is made if it is missing or was made with other settings. The aligner is trained on all
    splits, test included: it is given the phonemes and only estimates their times.

    Args:
        name: A prepared corpus.
        aligner: Its settings; the defaults when None.
        as_name: The name in recipes, if not ``NAME-aligned``.

    Raises:
        InputError: The corpus is not prepared.
    """
    aligner = aligner or Aligner()
    corpus = ensure_corpus(name)
    settings = {
        "aligned": name,
        "from": {key: corpus.description[key] for key in ("source", "settings", "splits")},
        "aligner": json.loads(json.dumps(asdict(aligner))),
    }
    folder = data_root() / (as_name or f"{name}-aligned")

    def make(_: Path) -> dict[str, Any]:
        times = align_corpus(corpus, aligner)
        return {
            split: [
                _with_times(cut, trim_silence(cut, times[cut.id], aligner.quiet_db))
                for cut in corpus.cuts(split)
            ]
            for split in SPLITS
        }

    write_prepared(folder, settings, make)
    return load_corpus(folder.name)


def align_corpus(
    corpus: PreparedCorpus, aligner: Aligner, max_utterances: int | None = None
) -> Times:
    """Trains an aligner on a corpus and aligns it.

    Args:
        corpus: Phoneme times that it may have are not used.
        aligner: Its settings.
        max_utterances: Limit per speaker and split.
    """
    examples = _examples(corpus, aligner, max_utterances)
    symbols = corpus.phonemes
    num_examples = len(examples)
    if aligner.company is not None:
        company = load_corpus(aligner.company)
        symbols = tuple(sorted({*symbols, *company.phonemes}))
        examples += _examples(company, aligner)
    phonemes = PhonemeSet(symbols, has_blank=True)
    targets = [torch.tensor(phonemes.encode(example.phonemes)) for example in examples]
    spans: list[list[list[tuple[float, float]]]] = [[] for _ in range(num_examples)]
    schedule = Schedule(aligner.epochs, aligner.learning_rate, aligner.batch_size)
    for seed in aligner.seeds:
        net = fit_timing_net(
            [example.features for example in examples],
            targets,
            phonemes.num_outputs,
            schedule,
            seed,
            aligner.width,
            aligner.prior_scale,
            aligner.prior_memory,
        )
        references = [target.tolist() for target in targets[:num_examples]]
        aligned = _align(net, examples[:num_examples], references)
        for number, of_utterance in enumerate(aligned):
            spans[number].append(of_utterance)
    seconds = aligner.hop_ms / 1000
    times: dict[str, list[tuple[float, float]]] = {}
    for example, by_seed in zip(examples[:num_examples], spans, strict=True):
        # Medians of ordered spans that do not overlap are ordered and do not overlap.
        edges = seconds * np.median(np.array(by_seed), axis=0)  # (phonemes, 2)
        times[example.utterance] = [(float(start), float(end)) for start, end in edges]
    return times


def trim_silence(
    cut: Any, times: Sequence[tuple[float, float]], quiet_db: float
) -> list[tuple[float, float]]:
    """Moves the first start and the last end out of leading and trailing silence.

    Args:
        cut: The utterance.
        times: Start and end of each phoneme in seconds.
        quiet_db: As in ``Aligner``.
    """
    import librosa

    rate = cut.sampling_rate
    frame = rate // 50  # 20 ms
    _, (first, last) = librosa.effects.trim(
        cut.load_audio()[0], top_db=quiet_db, frame_length=frame, hop_length=frame // 4
    )
    # Each phoneme keeps at least a frame.
    (start, stop), end = times[0], times[-1][1]
    trimmed = list(times)
    trimmed[0] = (max(start, min(first / rate, stop - 0.01)), stop)
    trimmed[-1] = (trimmed[-1][0], min(end, max(last / rate, trimmed[-1][0] + 0.01)))
    return trimmed


def _examples(
    corpus: PreparedCorpus, aligner: Aligner, max_utterances: int | None = None
) -> list[Example]:
    """All utterances as features."""
    recipe = Recipe.model_validate(
        {
            "name": "aligner",
            "corpus": {"name": corpus.name, "max_utterances": max_utterances},
            "features": {
                "sample_rate": aligner.sample_rate,
                "n_mels": aligner.n_mels,
                "hop_ms": aligner.hop_ms,
            },
            "task": {"kind": "recognize"},
            "training": {"stages": [{"name": "all", "epochs": 1, "learning_rate": 0.01}]},
        }
    )
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, corpus.phonemes, ("all",))
    return [e for split in SPLITS for e in load_examples(recipe, corpus, split, recognizer)]


@torch.no_grad()
def _align(
    net: TimingNet, examples: Sequence[Example], targets: Sequence[list[int]]
) -> list[list[tuple[float, float]]]:
    """First frame of each phoneme and the one after its last, of every utterance."""
    spans: list[list[tuple[float, float]]] = []
    for first in range(0, len(examples), 256):
        features = [example.features for example in examples[first : first + 256]]
        num_frames = torch.tensor([len(frames) for frames in features])
        padded = pad_sequence(features, batch_first=True)
        mask = torch.arange(padded.shape[1]) < num_frames[:, None]
        lengths, phonemes = num_frames.tolist(), targets[first : first + 256]
        aligned = force_align(net(padded, mask).numpy(), lengths, phonemes)
        for length, target, of_utterance in zip(lengths, phonemes, aligned, strict=True):
            if length < min_num_frames(target):
                # Too short for an alignment: in equal parts, which need not be whole frames.
                edges = np.linspace(0, length, len(target) + 1).tolist()
                spans.append(list(pairwise(edges)))
            else:
                spans.append([(start, end) for start, end in share_gaps(of_utterance).tolist()])
    return spans


def _with_times(cut: Any, times: Sequence[tuple[float, float]]) -> Any:
    from lhotse.supervision import AlignmentItem

    supervision = cut.supervisions[0]
    items = [
        AlignmentItem(phoneme, round(start, 6), round(min(end, cut.duration) - start, 6))
        for phoneme, (start, end) in zip(supervision.custom["phonemes"], times, strict=True)
    ]
    cut.supervisions = [supervision.with_alignment("phoneme", items)]
    return cut


def corpus_times(corpus: PreparedCorpus) -> Times:
    """Phoneme times of a corpus that has them."""
    return {
        cut.id: [(i.start, i.end) for i in cut.supervisions[0].alignment["phoneme"]]
        for split in SPLITS
        for cut in corpus.cuts(split)
    }
