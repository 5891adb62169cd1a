"""The page of a folder of clips: one HTML file with a small script, and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby

from jinja2 import Environment, StrictUndefined

from phoneme_moe.report.clips.find import SEED, Cell, Clip
from phoneme_moe.report.clips.sounds import Sound
from phoneme_moe.report.page.palette import expert_colours, from_hex, hex_colour, ink

WAVE_COLUMNS, WAVE_HEIGHT = 150, 40
"""Of a waveform in the units of its drawing."""
#: Parts of a bar below this weight are drawn as one remainder, as in the report.
_THINNEST = 0.02
#: Experts that are named under a bar.
_NAMED = 3


@dataclass(frozen=True)
class Card:
    """One clip, ready for the template.

    Attributes:
        clip: What it is.
        file: Its sound, relative to the page.
        expert: Name of the expert that leads.
        seconds: Length of the sound.
        offset: Where the phoneme begins in it, in seconds.
        length: How long the phoneme is, in seconds.
        wave: Corners of the waveform, as SVG writes them.
        parts: Expert's index, name and weight of each part of the bar, heaviest first; index None
            for the remainder of small parts.
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
    def of(clip: Clip, sound: Sound, file: str, experts: Sequence[str]) -> Card:
        """Reduces a sound to what the page shows of it."""
        half = WAVE_HEIGHT / 2
        # A silent column is still a line.
        rows = [
            (half - (half - 1) * float(high) - 0.4, half - (half - 1) * float(low) + 0.4)
            for low, high in sound.envelope(WAVE_COLUMNS)
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
        return Card(
            clip,
            file,
            experts[clip.expert],
            sound.seconds,
            sound.offset,
            sound.length,
            " ".join(upper + lower[::-1]),
            parts,
        )

    @property
    def named(self) -> list[tuple[int | None, str, float]]:
        """The parts that are written out."""
        return self.parts[:_NAMED]

    @property
    def start(self) -> str:
        """When the phoneme begins in its recording."""
        minutes, seconds = divmod(self.clip.start, 60)
        return f"{minutes:.0f}:{seconds:05.2f}" if minutes else f"{seconds:.2f}\u00a0s"


def render_clips(
    cards: Sequence[Card],
    experts: Sequence[str],
    *,
    cell: Cell,
    facts: Mapping[str, str],
    found: int,
    notes: Sequence[str],
) -> str:
    """The page.

    Args:
        cards: The clips, those of a speaker together and of a phoneme within, at least one.
        experts: All experts, in the order of the weights.
        cell: What was asked for.
        facts: Run, corpus, split and so on, name to value.
        found: Clips behind the cell, of which the page may have a sample.
        notes: Sentences on times and sound.
    """
    one_speaker = len({card.clip.speaker for card in cards}) == 1
    kind = "phoneme" if one_speaker else "speaker"

    def heading(card: Card) -> str:
        return card.clip.phoneme if one_speaker else card.clip.speaker

    used = {i for card in cards for i, _, _ in card.parts if i is not None}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda weight: f"{100 * weight:.0f}\u202f%"
    template = resources.files(__package__).joinpath("page.html.jinja")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        cell=cell,
        facts=facts,
        kind=kind,
        one_speaker=cards[0].clip.speaker,
        groups=[(name, list(own)) for name, own in groupby(cards, heading)],
        count=len(cards),
        found=found,
        seed=SEED,
        num_wrong=sum(card.clip.wrong for card in cards),
        speakers=len({card.clip.speaker for card in cards}),
        phonemes=len({card.clip.phoneme for card in cards}),
        notes=notes,
        columns=WAVE_COLUMNS - 1,
        height=WAVE_HEIGHT,
        legend=[(i, experts[i]) for i in sorted(used)],
        colours=[
            (i, colour, hex_colour(ink(from_hex(colour))))
            for i, colour in enumerate(expert_colours(len(experts)))
            if i in used
        ],
    )
