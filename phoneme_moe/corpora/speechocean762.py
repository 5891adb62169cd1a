"""Corpus ``speechocean762`` (OpenSLR 101): English read by 250 Mandarin speakers, 16 kHz.

The phonemes are canonical pronunciations from the publishers. The learners mispronounce some of
them, so the error rate cannot reach zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation

NUM_DEV_SPEAKERS = 10
_TABLES = ("wav.scp", "utt2spk", "text", "spk2gender", "spk2age")
_FILES = (
    *(f"train/{name}" for name in _TABLES),
    *(f"test/{name}" for name in _TABLES),
    "resource/text-phone",
)


def settings(job: Preparation) -> dict[str, Any]:
    """Fingerprint of the tables, which determines the corpus.

    Raises:
        InputError: The folder does not have the published layout.
    """
    from phoneme_moe.corpora.manifest import fingerprint
    from phoneme_moe.corpora.tables import require_files

    assert job.source is not None
    require_files(job.source, _FILES, "a speechocean762 folder")
    return {"tables": fingerprint(job.source / name for name in _FILES)}


def prepare(job: Preparation) -> Splits:
    """Prepares the published test split, and ten of the training speakers as dev.

    Raises:
        InputError: A line of a table is malformed, or an audio file is missing or unreadable.
    """
    assert job.source is not None
    phonemes = _read_phonemes(job.source / "resource" / "text-phone")
    train, sexes = _read_part(job, "train", phonemes)
    test, _ = _read_part(job, "test", phonemes)
    dev_speakers = choose_dev_speakers(sexes)
    splits: dict[str, list[Any]] = {"train": [], "dev": [], "test": list(test)}
    for cut in train:
        is_dev = cut.supervisions[0].speaker in dev_speakers
        splits["dev" if is_dev else "train"].append(cut)
    return splits


def choose_dev_speakers(sexes: Mapping[str, str]) -> set[str]:
    """Selects five male and five female speakers by a hash of their names."""
    from phoneme_moe.corpora.splits import rank_speakers

    return set(rank_speakers(sexes)[:NUM_DEV_SPEAKERS])


def _read_part(
    job: Preparation, part: str, phonemes: dict[str, list[str]]
) -> tuple[list[Any], dict[str, str]]:
    """Reads the cuts of the published ``train`` or ``test``, and the sex of each speaker."""
    from phoneme_moe.corpora.manifest import Utterance, make_cut, read_header
    from phoneme_moe.corpora.tables import read_sexes, read_table
    from phoneme_moe.system.progress import track

    assert job.source is not None
    folder = job.source / part
    recordings = read_table(folder / "wav.scp", "UTTERANCE FILE")
    speakers = read_table(folder / "utt2spk", "UTTERANCE SPEAKER")
    texts = read_table(folder / "text", "UTTERANCE WORDS")
    ages = read_table(folder / "spk2age", "SPEAKER AGE")
    sexes = read_sexes(folder / "spk2gender")
    cuts = []
    for id, recording in track(
        recordings.items(), f"Reading {part}", job.progress, total=len(recordings)
    ):
        if id not in speakers or id not in texts:
            raise InputError(f"{recording.where}: {id!r} is not in {folder}/utt2spk and text")
        if id not in phonemes:
            raise InputError(f"{recording.where}: {id!r} is not in resource/text-phone")
        speaker = speakers[id].value
        if speaker not in ages or speaker not in sexes:
            raise InputError(f"{speakers[id].where}: {speaker!r} is not in spk2age and spk2gender")
        utterance = Utterance(
            id=id,
            speaker=speaker,
            sex=sexes[speaker],
            text=texts[id].value,
            phonemes=tuple(phonemes[id]),
            audio=read_header(id, job.source / recording.value, recording.where),
            extra={"age": _age(ages[speaker].value, ages[speaker].where)},
        )
        cuts.append(make_cut(utterance))
    return cuts, sexes


def _read_phonemes(file: Path) -> dict[str, list[str]]:
    """Reads the phonemes of utterances, joining ``UTTERANCE.WORD P1 P2 ...`` lines by word."""
    from phoneme_moe.corpora.lexicon import ARPABET, fold_arpabet
    from phoneme_moe.corpora.tables import read_table

    words: dict[str, dict[int, list[str]]] = {}
    for key, entry in read_table(file, "UTTERANCE.WORD PHONEMES").items():
        id, _, word = key.rpartition(".")
        if not id or not word.isdigit():
            raise InputError(f"{entry.where}: expected 'UTTERANCE.WORD PHONEMES', found {key!r}")
        phonemes = []
        for symbol in entry.value.split():
            phonemes.append(fold_arpabet(symbol))
            if phonemes[-1] not in ARPABET:
                raise InputError(f"{entry.where}: {symbol!r} is not an ARPABET phoneme")
        words.setdefault(id, {})[int(word)] = phonemes
    return {
        id: [phoneme for word in sorted(its_words) for phoneme in its_words[word]]
        for id, its_words in words.items()
    }


def _age(value: str, where: str) -> int:
    if not value.isdigit():
        raise InputError(f"{where}: expected an age in years, found {value!r}")
    return int(value)
