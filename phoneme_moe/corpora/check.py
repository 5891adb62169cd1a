"""Validation of prepared corpora: compares every audio file with its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phoneme_moe.corpora.alternatives import symbols_of
from phoneme_moe.corpora.prepared import SPLITS, PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.notation.near_twins import near_twins

if TYPE_CHECKING:
    from lhotse.cut import Cut

MIN_SECONDS = 0.02
"""Shortest utterance of which there is anything to learn."""
SECONDS_PER_PHONEME = 0.01
"""Nobody speaks a hundred phonemes a second: the text is that of another recording."""
_TIME_TOLERANCE = 1e-4
"""Tolerance of times in seconds; they are stored with fewer digits than Lhotse uses."""


@dataclass(frozen=True)
class Problem:
    """A problem with one file or one utterance.

    Attributes:
        where: The audio file, manifest or utterance.
        what: Description of the problem.
    """

    where: str
    what: str


@dataclass
class CorpusCheck:
    """Result of a check.

    Attributes:
        counts: Number of speakers, utterances, seconds and phonemes, by split.
        inventory: Count of each phoneme, by split.
        problems: All problems; empty for a valid corpus.
        twins: Groups of phonemes that differ only in marks or case or look alike, with the number
            of times that each occurs; each may be one phoneme, or not.
    """

    counts: dict[str, dict[str, float]] = field(default_factory=dict)
    inventory: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    twins: list[dict[str, int]] = field(default_factory=list)


def check_corpus(corpus: PreparedCorpus, progress: bool = False) -> CorpusCheck:
    """Reads every audio file of a corpus and compares it with its labels.

    Args:
        corpus: The prepared corpus.
        progress: Whether to show a progress bar on stderr.

    Raises:
        InputError: A manifest is missing or cannot be read.
    """
    from phoneme_moe.corpora.manifest import count
    from phoneme_moe.system.progress import track

    result = CorpusCheck()
    seen: dict[str, str] = {}
    checked: dict[str, list[str]] = {}  # a recording may contain many utterances
    for split in SPLITS:
        cuts = corpus.cuts(split, checked=False)
        labelled = [cut for cut in cuts if len(cut.supervisions) == 1]
        result.counts[split] = count(labelled)
        result.inventory[split] = Counter(phoneme for cut in labelled for phoneme in _phonemes(cut))
        if not cuts:
            result.problems.append(Problem(f"split {split}", "has no utterances"))
        for cut in track(cuts, f"Checking {split}", progress, total=len(cuts)):
            if cut.id in seen:
                what = f"is in {seen[cut.id]} and again in {split}"
                result.problems.append(Problem(f"utterance {cut.id}", what))
            seen.setdefault(cut.id, split)
            recording = cut.recording
            path = str(recording.sources[0].source)
            if path not in checked:
                checked[path] = list(_audio_problems(recording, path))
                result.problems += [Problem(path, what) for what in checked[path]]
            result.problems += [Problem(path, what) for what in _label_problems(cut, corpus)]
    total = sum(result.inventory.values(), Counter[str]())
    result.twins = [{name: total[name] for name in group} for group in near_twins(sorted(total))]
    return result


def _audio_problems(recording: Any, path: str) -> Iterator[str]:
    from pathlib import Path

    from phoneme_moe.audio.waveform import is_silent, read_info, waveform_blocks

    source = recording.sources[0]
    if source.type == "file" and not Path(path).is_file():
        yield "is missing"
        return
    audio = source.source if source.type == "memory" else path
    try:
        info = read_info(audio)
        if not info.num_samples:
            yield "is empty"
            return
        if info.sample_rate != recording.sampling_rate:
            yield (
                f"has {info.sample_rate} Hz, expected {recording.sampling_rate} Hz as in the "
                "manifest"
            )
        elif info.num_samples < recording.num_samples:
            yield (
                f"is truncated: has {info.num_samples} samples, expected {recording.num_samples}"
            )
        # To the end: an error may be in the last block.
        silent = [is_silent(block) for block in waveform_blocks(audio, info.sample_rate)]
        if all(silent):
            yield "is silent"
    except InputError as error:
        yield f"is unreadable ({str(error).removeprefix(f'{path}: ')})"


def _label_problems(cut: Cut, corpus: PreparedCorpus) -> Iterator[str]:
    name = f"utterance {cut.id}"
    if len(cut.supervisions) != 1:
        yield f"{name} has {len(cut.supervisions)} supervisions, expected 1"
        return
    supervision = cut.supervisions[0]
    phonemes = _phonemes(cut)
    if not phonemes:
        yield f"{name} has no phonemes"
    if cut.duration < max(MIN_SECONDS, len(phonemes) * SECONDS_PER_PHONEME):
        yield f"{name} has {len(phonemes)} phonemes in {cut.duration:g} s"
    unknown = sorted(symbols_of(supervision.custom) - set(corpus.phonemes))
    if unknown:
        yield f"{name} has phonemes that corpus.json does not list: {', '.join(unknown)}"
    if supervision.speaker not in corpus.speakers:
        yield f"{name} has the speaker {supervision.speaker!r}, not listed in corpus.json"
    if cut.end > cut.recording.duration + _TIME_TOLERANCE:
        yield f"{name} ends at {cut.end} s, the recording at {cut.recording.duration} s"
    previous_end = 0.0
    for item in (supervision.alignment or {}).get("phoneme", ()):
        if item.start < previous_end - _TIME_TOLERANCE or item.duration < 0:
            yield f"{name} has its phonemes out of order at {item.start} s ({item.symbol})"
            break
        previous_end = item.end
    if previous_end > cut.duration + _TIME_TOLERANCE:
        yield f"{name} has a phoneme until {previous_end} s, but lasts {cut.duration} s"


def _phonemes(cut: Cut) -> list[str]:
    return list((cut.supervisions[0].custom or {}).get("phonemes") or ())
