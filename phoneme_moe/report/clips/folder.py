"""What a folder of clips holds, and how it is put in place: whole or not at all."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from phoneme_moe.errors import InputError
from phoneme_moe.report.clips.find import Clip

PAGE, TABLE, SOUNDS = "index.html", "clips.csv", "clips"
COLUMNS = (
    "file",
    "utterance",
    "speaker",
    "phoneme",
    "start",
    "end",
    "expert",
    "weight",
    "heard",
    "wrong",
    "offset",
)
"""Of ``clips.csv``; times in seconds, ``offset`` is where the phoneme begins in its file."""


def table_text(
    clips: Sequence[Clip], files: Sequence[str], offsets: Sequence[float], experts: Sequence[str]
) -> str:
    """What ``clips.csv`` says.

    Args:
        clips: In the page's order.
        files: Sound of each, relative to the folder.
        offsets: Where the phoneme begins in each, in seconds.
        experts: All experts, in the order of the weights.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip, file, offset in zip(clips, files, offsets, strict=True):
        writer.writerow(
            [
                file,
                clip.utterance,
                clip.speaker,
                clip.phoneme,
                f"{clip.start:.4f}",
                f"{clip.end:.4f}",
                experts[clip.expert],
                f"{clip.weights[clip.expert]:.6f}",
                clip.heard or "",
                str(clip.wrong).lower(),
                f"{offset:.4f}",
            ]
        )
    return text.getvalue()


def check_replaceable(folder: Path) -> None:
    """A folder is replaced only when all in it is what this module writes.

    Raises:
        InputError: There is something else in its place.
    """
    if not folder.exists():
        return
    ours = folder.is_dir()
    if ours and any(folder.iterdir()):
        sounds = folder / SOUNDS
        ours = (
            {entry.name for entry in folder.iterdir()} == {PAGE, TABLE, SOUNDS}
            and sounds.is_dir()
            and all(re.fullmatch(r"\d+\.flac", entry.name) for entry in sounds.iterdir())
        )
    if not ours:
        raise InputError(
            f"{folder}: exists and is not a folder of clips; move it away or choose another --out"
        )


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a folder to write into that takes the place of ``target`` only when all went well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        inside, former = beside / "new", beside / "former"
        inside.mkdir()  # with the modes of any other folder, which mkdtemp's is not
        yield inside
        if target.exists():
            check_replaceable(target)  # it may have changed in the meantime
            target.replace(former)
        try:
            inside.replace(target)
        except OSError:
            if former.exists():
                former.replace(target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
