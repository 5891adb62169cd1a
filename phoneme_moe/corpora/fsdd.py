"""Corpus ``fsdd``: the Free Spoken Digit Dataset (six male speakers, ten digits, 8 kHz)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.errors import InputError

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits
    from phoneme_moe.corpora.registry import Preparation

# ARPABET without stress, from CMUdict.
DIGITS = (
    ("zero", "Z IH R OW"),
    ("one", "W AH N"),
    ("two", "T UW"),
    ("three", "TH R IY"),
    ("four", "F AO R"),
    ("five", "F AY V"),
    ("six", "S IH K S"),
    ("seven", "S EH V AH N"),
    ("eight", "EY T"),
    ("nine", "N AY N"),
)
_FILE_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<take>[0-9]+)\.wav")


def settings(job: Preparation) -> dict[str, Any]:
    """Number of files, which determines the corpus."""
    return {"num_files": len(_recordings(job.source))}


def prepare(job: Preparation) -> Splits:
    """Prepares takes 0-4 as test (the published split), 5-9 as dev, all others as train.

    Raises:
        InputError: There is no file ``{digit}_{speaker}_{take}.wav``, or one is not audio.
    """
    from phoneme_moe.corpora.manifest import Utterance, make_cut, read_header
    from phoneme_moe.system.progress import track

    splits: dict[str, list[Any]] = {"train": [], "dev": [], "test": []}
    for path in track(_recordings(job.source), "Reading recordings", job.progress):
        match = _FILE_NAME.fullmatch(path.name)
        assert match is not None
        word, phonemes = DIGITS[int(match["digit"])]
        take = int(match["take"])
        utterance = Utterance(
            id=path.stem,
            speaker=match["speaker"],
            sex="M",
            text=word,
            phonemes=tuple(phonemes.split()),
            audio=read_header(path.stem, path, "fsdd"),
        )
        split = "test" if take < 5 else "dev" if take < 10 else "train"
        splits[split].append(make_cut(utterance))
    return splits


def _recordings(source: Path | None) -> list[Path]:
    from phoneme_moe.corpora.tables import contents_of

    assert source is not None
    folder = source / "recordings" if (source / "recordings").is_dir() else source
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    recordings = [file for file in files if _FILE_NAME.fullmatch(file.name)]
    if not recordings:
        raise InputError(
            f"{source}: expected files like recordings/7_jackson_32.wav, "
            f"found {contents_of(folder)}"
        )
    return recordings
