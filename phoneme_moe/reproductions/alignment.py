"""Phoneme times for a corpus that has none, from an aligner trained on the corpus itself."""

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
    """How an aligner is made. All of it decides the times.

    Attributes:
        sample_rate: In hertz.
        n_mels: Bands.
        hop_ms: From one frame to the next: the finest step of a time.
        width: Channels of the network, which sees a single frame: one that saw its neighbours could
            name a phoneme before it begins, or after its end.
        company: A prepared corpus of other speech with the same phonemes, or more, that is learned
            beside. In ten words most phonemes have one and the same neighbour, so that nothing
            tells where one ends and the next begins; sentences tell.
        epochs: Passes over all utterances.
        learning_rate: At its peak.
        batch_size: Utterances in a step.
        prior_scale: Power of the label prior.
        prior_memory: Share of the running prior that a step leaves.
        quiet_db: What is so much below the loudest part of a recording is no speech: the first
            phoneme does not begin in it, nor the last one end. Blanks leave that to phonemes.
        seeds: Of weights and order, one aligner each; the time of a phoneme is the median of what
            they find.
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

    It is made when it is missing or was made otherwise. The aligner learns from the utterances of
    all splits, those for testing too: it is told what is said and only finds out when.

    Args:
        name: A prepared corpus.
        aligner: How; the usual one when left out.
        as_name: The name that recipes use, if another.

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
        times = find_times(corpus, aligner)
        return {
            split: [
                _with_times(cut, without_quiet_ends(cut, times[cut.id], aligner.quiet_db))
                for cut in corpus.cuts(split)
            ]
            for split in SPLITS
        }

    write_prepared(folder, settings, make)
    return load_corpus(folder.name)


def find_times(
    corpus: PreparedCorpus, aligner: Aligner, max_utterances: int | None = None
) -> Times:
    """Trains an aligner on a corpus and aligns it.

    Args:
        corpus: Its own phoneme times are not looked at.
        aligner: How.
        max_utterances: At most so many of each speaker in each split.
    """
    examples = _examples(corpus, aligner, max_utterances)
    symbols = corpus.phonemes
    own = len(examples)
    if aligner.company is not None:
        company = load_corpus(aligner.company)
        symbols = tuple(sorted({*symbols, *company.phonemes}))
        examples += _examples(company, aligner)
    phonemes = PhonemeSet(symbols, has_blank=True)
    targets = [torch.tensor(phonemes.encode(example.phonemes)) for example in examples]
    spans: list[list[list[tuple[float, float]]]] = [[] for _ in range(own)]
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
        aligned = _align(net, examples[:own], [target.tolist() for target in targets[:own]])
        for number, of_utterance in enumerate(aligned):
            spans[number].append(of_utterance)
    seconds = aligner.hop_ms / 1000
    times: dict[str, list[tuple[float, float]]] = {}
    for example, several in zip(examples[:own], spans, strict=True):
        # Medians of ordered spans that do not overlap are ordered and do not overlap.
        edges = seconds * np.median(np.array(several), axis=0)  # (phonemes, 2)
        times[example.utterance] = [(float(start), float(end)) for start, end in edges]
    return times


def without_quiet_ends(
    cut: Any, times: Sequence[tuple[float, float]], quiet_db: float
) -> list[tuple[float, float]]:
    """The same times, none of them in the quiet before and after speech.

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
    # Of each end no more than leaves its phoneme a frame.
    (start, stop), end = times[0], times[-1][1]
    kept = list(times)
    kept[0] = (max(start, min(first / rate, stop - 0.01)), stop)
    kept[-1] = (kept[-1][0], min(end, max(last / rate, kept[-1][0] + 0.01)))
    return kept


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


def exact_times(corpus: PreparedCorpus) -> Times:
    """Phoneme times that a corpus came with."""
    return {
        cut.id: [(i.start, i.end) for i in cut.supervisions[0].alignment["phoneme"]]
        for split in SPLITS
        for cut in corpus.cuts(split)
    }
