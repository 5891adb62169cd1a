"""Times in whole milliseconds, the same in every format.

They are rounded so that nothing overlaps, ends past the recording or lasts no time at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from phoneme_moe.decoding.decoder import Segment


def rounded(segments: Sequence[Segment], duration: float) -> list[tuple[int, int]]:
    """Start and end of each segment in whole milliseconds: none empty, in order, within the file.

    What is shorter than a millisecond, as the last phoneme can be, is widened to one, and its
    neighbours give way; all others stay within a millisecond of where they were.

    Args:
        segments: In order, none overlapping the next; no more than the file has milliseconds.
        duration: Of the file, in seconds.
    """
    last = whole_milliseconds(duration)
    edges: list[tuple[int, int]] = []
    before = 0
    for number, segment in enumerate(segments):
        room = last - (len(segments) - number - 1)  # a millisecond for each that follows
        start = min(max(before, round(segment.start * 1000)), room - 1)
        end = min(max(start + 1, round(segment.end * 1000)), room)
        edges.append((start, end))
        before = end
    return edges


def whole_milliseconds(duration: float) -> int:
    """As many as fit into a duration in seconds, never past its end."""
    nearest = round(duration * 1000)
    # int(duration * 1000) would make 1000 of 1.001.
    return nearest - (nearest / 1000 > duration)
