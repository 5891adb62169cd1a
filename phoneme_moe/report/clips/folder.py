"""A folder of clips: a page, a table and an audio file for each clip, written as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoneme_moe.errors import ArgumentError
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.csv_text import csv_text
from phoneme_moe.report.clips.audio import cut_clips
from phoneme_moe.report.clips.find import Clip, ClipQuery
from phoneme_moe.report.clips.page import EVENLY, ClipView, render_clips
from phoneme_moe.system.progress import track

PAGE, TABLE, AUDIO = "index.html", "clips.csv", "clips"
COLUMNS = (
    "file",
    "utterance",
    "speaker",
    "phoneme",
    "start",
    "end",
    "expert",
    "weight",
    "hypothesis",
    "wrong",
    "offset",
)
"""Columns of ``clips.csv``; times in seconds, ``offset`` is the phoneme's start in its file."""


@dataclass(frozen=True)
class Shown:
    """What a page of clips says besides the clips.

    Attributes:
        experts: All experts, in the order of the weights.
        query: Search criteria.
        facts: Run, corpus, split and other properties, name to value.
        total: Number of clips, of which the page may show a sample.
        notes: Sentences about times and audio.
        sampling: How they were chosen, if there are more.
    """

    experts: tuple[str, ...]
    query: ClipQuery
    facts: dict[str, str]
    total: int
    notes: list[str]
    sampling: str = EVENLY


def write_clips(
    folder: Path,
    clips: Sequence[Clip],
    cuts: Any,
    shown: Shown,
    context_ms: float,
    tokens: bool,
    progress: bool,
) -> None:
    """Writes page, table and audio of clips.

    Args:
        folder: The folder; an earlier folder of clips is replaced.
        clips: The clips in the order of the page, with times in their recordings.
        cuts: The cuts of their split.
        shown: What the page says besides.
        context_ms: Milliseconds of audio before and after the phoneme.
        tokens: Whether the clips are tokens.
        progress: Whether to show a progress bar if stderr is a terminal.

    Raises:
        InputError: The folder exists and is not a folder of clips.
    """
    with atomic_folder(folder, check_replaceable) as inside:
        (inside / AUDIO).mkdir()
        files = [f"{AUDIO}/{number:04}.flac" for number in range(1, len(clips) + 1)]
        views: dict[int, ClipView] = {}
        audio = cut_clips(clips, cuts, context_ms / 1000, tokens)
        for number, one in track(audio, "cutting", progress, total=len(clips)):
            one.save(inside / files[number])
            views[number] = ClipView.of(clips[number], one, files[number], shown.experts)
        ordered = [views[number] for number in range(len(clips))]
        page = render_clips(
            ordered,
            shown.experts,
            query=shown.query,
            facts=shown.facts,
            total=shown.total,
            notes=shown.notes,
            sampling=shown.sampling,
        )
        (inside / PAGE).write_text(page, encoding="utf-8")
        (inside / TABLE).write_text(table_text(ordered), encoding="utf-8", newline="")


def table_text(views: Sequence[ClipView]) -> str:
    """The content of ``clips.csv``, in the order of the page."""
    rows: list[Sequence[str]] = [COLUMNS]
    for view in views:
        clip = view.clip
        rows.append(
            [
                view.file,
                clip.utterance,
                clip.speaker,
                clip.phoneme,
                f"{clip.start:.4f}",
                f"{clip.end:.4f}",
                view.expert,
                f"{clip.weights[clip.expert]:.6f}",
                clip.hypothesis or "",
                str(clip.wrong).lower(),
                f"{view.offset:.4f}",
            ]
        )
    return csv_text(rows)


def check_replaceable(folder: Path) -> None:
    """Checks that a folder may be replaced, since all of it was written by this module.

    Raises:
        ArgumentError: The path exists and is not a folder of clips.
    """
    if not folder.exists():
        return
    replaceable = folder.is_dir()
    if replaceable and any(folder.iterdir()):
        audio = folder / AUDIO
        replaceable = (
            {entry.name for entry in folder.iterdir()} == {PAGE, TABLE, AUDIO}
            and audio.is_dir()
            and all(re.fullmatch(r"\d+\.flac", entry.name) for entry in audio.iterdir())
        )
    if not replaceable:
        raise ArgumentError("out", f"{folder} exists and is not a folder of clips; move it away")
