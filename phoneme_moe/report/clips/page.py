"""The page of a folder of clips, in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from phoneme_moe.report.clips.audio import ClipAudio
from phoneme_moe.report.clips.find import SEED, Clip, ClipQuery
from phoneme_moe.report.page.template import read, render

WAVE_COLUMNS, WAVE_HEIGHT = 150, 40
"""Size of a waveform in SVG units."""
EVENLY = "drawn evenly over speakers and utterances"
#: Weights below this are drawn together as the remainder of a bar.
_THINNEST = 0.02
#: Number of experts listed under a bar.
_NAMED = 3


@dataclass(frozen=True)
class ClipView:
    """A clip as shown on the page.

    Attributes:
        clip: The clip.
        file: Path of its audio, relative to the page.
        expert: Name of the leading expert.
        seconds: Duration of the audio.
        offset: Start of the phoneme in the audio, in seconds.
        length: Duration of the phoneme in seconds.
        wave: Points of the waveform's outline in SVG syntax.
        parts: Index, name and weight of the expert of each part of the bar, greatest first; index
            None for the remainder.
    """

    clip: Clip
    file: str
    expert: str
    seconds: float
    offset: float
    length: float
    wave: str
    parts: list[tuple[int | None, str, float]]

    @staticmethod
    def of(clip: Clip, audio: ClipAudio, file: str, experts: Sequence[str]) -> ClipView:
        """The view of a clip with its audio."""
        half = WAVE_HEIGHT / 2
        # Draws a line even for a silent column.
        rows = [
            (half - (half - 1) * float(high) - 0.4, half - (half - 1) * float(low) + 0.4)
            for low, high in audio.envelope(WAVE_COLUMNS)
        ]
        upper = [f"{column},{top:.1f}" for column, (top, _) in enumerate(rows)]
        lower = [f"{column},{bottom:.1f}" for column, (_, bottom) in enumerate(rows)]
        weights = clip.weights.tolist()
        ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
        parts: list[tuple[int | None, str, float]] = [
            (i, experts[i], weights[i]) for i in ranked if weights[i] >= _THINNEST
        ]
        rest = 1 - sum(weight for _, _, weight in parts)
        if rest > 0.002:
            parts.append((None, "others", rest))
        return ClipView(
            clip,
            file,
            experts[clip.expert],
            audio.seconds,
            audio.offset,
            audio.length,
            " ".join(upper + lower[::-1]),
            parts,
        )

    @property
    def named(self) -> list[tuple[int | None, str, float]]:
        """The parts that are listed by name."""
        return self.parts[:_NAMED]

    @property
    def start(self) -> str:
        """Start of the phoneme in its recording."""
        minutes, seconds = divmod(self.clip.start, 60)
        return f"{minutes:.0f}:{seconds:05.2f}" if minutes else f"{seconds:.2f}\u00a0s"


def render_clips(
    views: Sequence[ClipView],
    experts: Sequence[str],
    *,
    query: ClipQuery,
    facts: Mapping[str, str],
    total: int,
    notes: Sequence[str],
    sampling: str = EVENLY,
) -> str:
    """The page.

    Args:
        views: The clips sorted by speaker, then by phoneme; at least one.
        experts: All experts, in the order of the weights.
        query: Search criteria.
        facts: Run, corpus, split and other properties, name to value.
        total: Number of clips behind the cell, of which the page may show a sample.
        notes: Sentences about times and audio.
        sampling: How they were chosen, if there are more.
    """
    speakers = {view.clip.speaker for view in views}
    phonemes = {view.clip.phoneme for view in views}
    kind = "phoneme" if len(speakers) == 1 else "speaker"
    groups = groupby(views, lambda view: str(getattr(view.clip, kind)))
    used = {i for view in views for i, _, _ in view.parts if i is not None}
    count = f"{len(views):,}" + (f" of {total:,}" if total > len(views) else "")
    shown = {**facts, "clips": count}
    if kind == "phoneme":
        shown["speaker"] = views[0].clip.speaker
    else:
        shown["speakers"] = f"{len(speakers):,}"
    shown["phonemes"] = f"{len(phonemes):,}"
    return render(
        "clips/clips.html.jinja",
        styles=["clips/clips.css"],
        scripts=[read("clips/clips.js")],
        num_experts=len(experts),
        title=f"Clips of {facts['run']}: {query}",
        facts=shown,
        query=query,
        kind=kind,
        groups=[(name, list(group)) for name, group in groups],
        count=len(views),
        total=total,
        seed=SEED,
        sampling=sampling,
        num_wrong=sum(view.clip.wrong for view in views),
        notes=notes,
        columns=WAVE_COLUMNS - 1,
        height=WAVE_HEIGHT,
        legend=[(i, experts[i]) for i in sorted(used)],
        files={"clips.csv": "the same as a table"},
    )
