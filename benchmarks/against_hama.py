"""An independent phoneme recogniser, PyPI ``hama`` 1.7.0, beside a run on the same sentences.

``python -m benchmarks.against_hama --theirs`` recognises with it (``pip install hama==1.7.0``), and
``python -m benchmarks.against_hama --run RUN`` with a run of ours, its default read-out. Hypotheses
are kept, so neither needs the other. ``--corpora`` is the folder with ``librispeech`` and
``speechocean762`` in their published layouts, ``--lexicon`` CMUdict.

The sentences: 30 of each of the four LibriSpeech test speakers (9 of 1737, who has no more), chosen
by a hash among those without words outside CMUdict, and all test sentences of speechocean762 in
that folder. References
are the first pronunciation of each word in CMUdict, and the phonemes of speechocean762.
``benchmarks.hama_symbols`` maps its symbols. One thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import page, results
from benchmarks.hama_symbols import to_arpabet
from benchmarks.results import table
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.corpora.lexicon import Lexicon, read_lexicon
from phoneme_moe.corpora.registry import CORPORA, Preparation
from phoneme_moe.corpora.splits import rank
from phoneme_moe.decoding.scoring import (
    Score,
    UtteranceScore,
    paired_difference,
    score_utterance,
    total_score,
)

NAME = "against_hama"
TEST_SPEAKERS = ("1088", "118", "163", "1737")
SENTENCES_OF_A_SPEAKER = 30
SAMPLE_RATE = 16000
CORPUS_NAMES = {"librispeech": "LibriSpeech", "speechocean762": "speechocean762"}


@dataclass(frozen=True)
class Sentence:
    """A test sentence.

    Attributes:
        id: Its name in the corpus.
        text: Its words.
        phonemes: The reference.
        audio: The recording.
    """

    id: str
    text: str
    phonemes: tuple[str, ...]
    audio: Path


def librispeech(folder: Path, lexicon: Lexicon) -> list[Sentence]:
    """Sentences of the four test speakers, in the published layout of train-clean-5."""
    sentences = []
    for speaker in TEST_SPEAKERS:
        known = []
        for transcript in sorted((folder / speaker).glob("*/*.trans.txt")):
            for line in transcript.read_text(encoding="utf-8").splitlines():
                id, _, text = line.partition(" ")
                words = lexicon.spoken_words(text)
                if all(word.pronunciations for word in words):
                    phonemes = tuple(p for word in words for p in word.pronunciations[0])
                    (audio,) = transcript.parent.glob(f"{id}.*")
                    known.append(Sentence(id, text, phonemes, audio))
        sentences += sorted(known, key=lambda s: rank(s.id))[:SENTENCES_OF_A_SPEAKER]
    return sentences


def speechocean762(folder: Path) -> list[Sentence]:
    """All test sentences."""
    with tempfile.TemporaryDirectory() as scratch:
        job = Preparation(folder=Path(scratch), source=folder)
        cuts = CORPORA["speechocean762"].prepare(job)["test"]
    return [
        Sentence(
            cut.id,
            cut.supervisions[0].text,
            tuple(cut.supervisions[0].custom["phonemes"]),
            Path(cut.recording.sources[0].source),
        )
        for cut in cuts
    ]


def recognise_theirs(sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Hypotheses of ``hama``, one utterance at a time; and what its dictionary says."""
    hama = import_module("hama")
    model, dictionary = hama.ASRModel(), hama.G2PModel()
    hypotheses = {}
    seconds = of_speech = 0.0
    for sentence in sentences:
        waveform = load_waveform(sentence.audio, SAMPLE_RATE)
        start = time.perf_counter()
        result = model.transcribe_waveform(waveform, SAMPLE_RATE)
        seconds += time.perf_counter() - start
        of_speech += len(waveform) / SAMPLE_RATE
        hypotheses[sentence.id] = result.word_phoneme_text
    words = sorted({word for sentence in sentences for word in sentence.text.lower().split()})
    return {
        "version": version("hama"),
        "hypotheses": hypotheses,
        "dictionary": {
            word: " ".join(a.phoneme for a in dictionary.predict(word).alignments) for word in words
        },
        "times_real_time": of_speech / seconds,
        "machine": results.machine(),
    }


def recognise_ours(run: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Hypotheses of a run as a user gets them."""
    import phoneme_moe

    loaded = phoneme_moe.load(run)
    hypotheses = {}
    seconds = of_speech = 0.0
    for sentence in sentences:
        waveform = load_waveform(sentence.audio, SAMPLE_RATE)
        start = time.perf_counter()
        transcript = loaded.transcribe(waveform, SAMPLE_RATE)
        seconds += time.perf_counter() - start
        of_speech += len(waveform) / SAMPLE_RATE
        hypotheses[sentence.id] = str(transcript)
    return {
        "run": Path(run).name,
        "hypotheses": hypotheses,
        "times_real_time": of_speech / seconds,
        "machine": results.machine(),
    }


def split_words(symbols: str) -> list[list[str]]:
    """The symbols of each word of a hypothesis of ``hama``."""
    return [word.split() for word in symbols.split("|")]


def scores(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]
) -> list[UtteranceScore]:
    """Scores of all sentences, in the order of the references."""
    return [score_utterance(references[id], hypotheses[id]) for id in references]


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures for docs/benchmarks.md."""
    theirs = figures["theirs"]
    names = ["hama", "hama, by its own dictionary"] + [run["run"] for run in figures["ours"]]
    rows = []
    verdicts = []
    for corpus, title in CORPUS_NAMES.items():
        sentences = figures["sentences"][corpus]
        references = {id: sentence["phonemes"].split() for id, sentence in sentences.items()}
        by_dictionary = {
            id: to_arpabet(
                theirs["dictionary"][word].split() for word in sentence["text"].lower().split()
            )
            for id, sentence in sentences.items()
        }
        mapped = {id: to_arpabet(split_words(theirs["hypotheses"][id])) for id in sentences}
        of_theirs = scores(references, mapped)
        columns = [of_theirs, scores(by_dictionary, mapped)]
        for run in figures["ours"]:
            of_ours = scores(references, {id: run["hypotheses"][id].split() for id in sentences})
            columns.append(of_ours)
            verdicts.append(_verdict(run["run"], title, of_theirs, of_ours))
        for name, column in zip(names, columns, strict=True):
            rows.append([name, title, *_cells(total_score(column))])
    counts = " and ".join(
        f"{len(figures['sentences'][corpus])} of {title}" for corpus, title in CORPUS_NAMES.items()
    )
    speeds = [("hama", theirs), *((run["run"], run) for run in figures["ours"])]
    speed = ", ".join(f"{name} {it['times_real_time']:.0f}" for name, it in speeds)
    return (
        f"## Against hama\n\nThe phoneme recogniser of PyPI `hama` {theirs['version']} (4.7 MB) "
        f"and ours on the same sentences: {counts},\nof speakers who are in no training data of "
        "ours (what hama was trained on its authors do not say). 39 phonemes; its IPA is mapped to "
        "them\nso that "
        "a difference in notation is no error (`benchmarks/hama_symbols.py`). References: first "
        "pronunciations of CMUdict, and those of\nspeechocean762. Its dictionary pronounces "
        "common words otherwise than CMUdict (to: `toʊ`, I: `i`, as: `ɑz`), and its model\n"
        "has learnt them; the second row of each corpus takes that dictionary as the reference.\n"
        f"Times real time, one thread: {speed}; {theirs['machine']}.\n\n"
        + table(["model", "test", "PER, %", "95 % interval", "sub", "ins", "del"], rows)
        + ("\n" + "\n".join(verdicts) + "\n" if verdicts else "")
    )


def _cells(score: Score) -> list[str]:
    low, high = score.interval
    counts = (score.substitutions, score.insertions, score.deletions)
    return [
        f"{100 * score.error_rate:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        *(f"{100 * count / score.num_reference:.1f}" for count in counts),
    ]


def _verdict(
    run: str, title: str, of_theirs: Sequence[UtteranceScore], of_ours: Sequence[UtteranceScore]
) -> str:
    difference = paired_difference(of_theirs, of_ours)
    result = "ahead" if difference.difference < 0 and difference.p < 0.05 else "**not ahead**"
    return (
        f"{run} on {title}: {100 * difference.difference:+.1f} points against hama "
        f"(p = {difference.p:.4f}): {result}."
    )


def main() -> None:
    """Runs the requested recognisers, prints the table, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--theirs", action="store_true", help="recognise with hama")
    parser.add_argument("--run", help="recognise with this run")
    root = Path(os.environ.get("PHONEME_MOE_CORPORA", "../shared/corpora"))
    parser.add_argument("--corpora", type=Path, default=root)
    parser.add_argument("--lexicon", type=Path, default=root / "../lexicon/cmudict-en-us.dict")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    by_corpus = {
        "librispeech": librispeech(
            arguments.corpora / "librispeech/train-clean-5", read_lexicon(arguments.lexicon)
        ),
        "speechocean762": speechocean762(arguments.corpora / "speechocean762"),
    }
    kept = results.read(NAME)
    figures: dict[str, Any] = {
        "sentences": {
            corpus: {s.id: {"text": s.text, "phonemes": " ".join(s.phonemes)} for s in sentences}
            for corpus, sentences in by_corpus.items()
        },
        "theirs": kept.get("theirs"),
        "ours": kept.get("ours", []),
    }
    assert kept.get("sentences", figures["sentences"]) == figures["sentences"], "other sentences"
    every = [sentence for sentences in by_corpus.values() for sentence in sentences]
    if arguments.theirs:
        figures["theirs"] = recognise_theirs(every)
    if figures["theirs"] is None:
        parser.error("run it with --theirs first")
    if arguments.run:
        ours = recognise_ours(arguments.run, every)
        others = [run for run in figures["ours"] if run["run"] != ours["run"]]
        figures["ours"] = [*others, ours]
    results.keep(NAME, figures)
    print(section(figures), flush=True)
    page.write()


if __name__ == "__main__":
    main()
