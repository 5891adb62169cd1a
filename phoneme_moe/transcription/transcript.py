"""The transcript of a recording as plain data; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoneme_moe.decoding.decoder import Segment

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Alternative:
    """A hypothesis of the n-best list of a recording.

    Attributes:
        phonemes: The phonemes in order.
        score: Natural logarithm of its probability, from the model and the weighted n-gram.
    """

    phonemes: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Transcript:
    """The phonemes that were recognised in a recording.

    Attributes:
        path: The file.
        duration: Its length in seconds.
        segments: The phonemes in order; none overlaps the next or ends after the file.
        silences: Start and end of the stretches without speech, in seconds.
        routing: Mean weight of each expert over the file, by name; sums to 1. For an encoder, the
            weights of its last sparse layer.
        run: The run folder or the ONNX file of the model.
        recipe: Name of its recipe.
        fold: Phoneme set that the symbols were mapped onto; None for the run's own.
        symbols: ``arpabet``, ``ipa``, ``xsampa`` or the file of a table; None for the notation of
            the run's corpus.
        alternatives: The n-best list, best first; empty unless more than one was requested.
    """

    path: Path
    duration: float
    segments: tuple[Segment, ...]
    silences: tuple[tuple[float, float], ...]
    routing: dict[str, float]
    run: str
    recipe: str
    fold: str | None = None
    symbols: str | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def phonemes(self) -> tuple[str, ...]:
        """The phonemes without times."""
        return tuple(segment.phoneme for segment in self.segments)

    def __str__(self) -> str:
        return " ".join(self.phonemes)

    def save(self, path: str | Path, format: str | None = None) -> Path:
        """Writes the transcript to a file, atomically.

        Args:
            path: The file.
            format: A format of ``phoneme-moe transcribe --format``; by default inferred from the
                suffix of the file.

        Returns:
            The file.

        Raises:
            InputError: The format or the suffix is unknown.
        """
        from phoneme_moe.transcription.formats import format_of

        format_of(Path(path), format).save(self, Path(path))
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in the JSON format (docs/schemas/transcript.schema.json)."""
        from phoneme_moe.transcription.writers.documents import to_dict

        return to_dict(self)

    def to_dataframe(self) -> DataFrame:
        """A pandas table, one row per phoneme, with a column for the weight of each expert.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        names = list(self.routing)
        rows = [
            [s.phoneme, s.start, s.end, s.confidence, *(s.experts.get(n, 0.0) for n in names)]
            for s in self.segments
        ]
        return pandas.DataFrame(rows, columns=["phoneme", "start", "end", "confidence", *names])

    def _repr_html_(self) -> str:
        """The phonemes with confidence and experts, for notebooks."""
        from phoneme_moe.transcription.writers.html import transcript_html

        return transcript_html(self)


def with_symbols(transcript: Transcript, names: Mapping[str, str], **changes: Any) -> Transcript:
    """The same transcript in another notation.

    Args:
        transcript: A transcript in the symbols of the run.
        names: The new symbol of each phoneme (``decoding.symbols.symbol_map``).
        changes: Other attributes to replace, such as ``fold``.
    """
    return replace(
        transcript,
        segments=tuple(replace(s, phoneme=names[s.phoneme]) for s in transcript.segments),
        alternatives=tuple(
            replace(a, phonemes=tuple(names[p] for p in a.phonemes))
            for a in transcript.alternatives
        ),
        **changes,
    )


def whole_millisecond_edges(segments: Sequence[Segment], duration: float) -> list[tuple[int, int]]:
    """Start and end of each segment in whole milliseconds: in order, within the file, none empty.

    All output formats use these edges. A segment shorter than a millisecond, as the last one can
    be, is widened to one at the expense of its neighbours; all others move by at most a
    millisecond.

    Args:
        segments: Segments in order without overlap, no more than the file has milliseconds.
        duration: Duration of the file in seconds.
    """
    last = whole_milliseconds(duration)
    edges: list[tuple[int, int]] = []
    previous_end = 0
    for number, segment in enumerate(segments):
        limit = last - (len(segments) - number - 1)  # leaves a millisecond for each later segment
        start = min(max(previous_end, round(segment.start * 1000)), limit - 1)
        end = min(max(start + 1, round(segment.end * 1000)), limit)
        edges.append((start, end))
        previous_end = end
    return edges


def whole_milliseconds(duration: float) -> int:
    """The whole milliseconds that fit into a duration in seconds."""
    nearest = round(duration * 1000)
    # int(duration * 1000) would turn 1.001 into 1000.
    return nearest - (nearest / 1000 > duration)
