"""Praat's TextGrid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phoneme_moe.transcription.transcript import whole_milliseconds

Tiers = dict[str, tuple[list[tuple[int, int]], list[str]]]
"""Tiers by name: start and end of the intervals in milliseconds, and their labels."""


def textgrid(tiers: Tiers, duration: float) -> str:
    """Interval tiers in Praat's long text format, with empty intervals in the gaps.

    The last interval includes the fraction of a millisecond at the end: an interval shorter than a
    sample would prevent Praat from cutting the recording by the tier.

    Args:
        tiers: Tiers with their intervals in order.
        duration: Duration of the recording in seconds.
    """
    last = whole_milliseconds(duration)

    def seconds(time: int) -> str:
        return f"{duration}" if time >= last else f"{time / 1000:.3f}"

    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, (edges, labels)) in enumerate(tiers.items(), 1):
        intervals = list(_filled(edges, labels, last))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {duration}",
            f"        intervals: size = {len(intervals)}",
        ]
        for index, (start, end, label) in enumerate(intervals, 1):
            quoted = label.replace('"', '""')
            lines += [
                f"        intervals [{index}]:",
                f"            xmin = {seconds(start)}",
                f"            xmax = {seconds(end)}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(lines) + "\n"


def _filled(
    edges: Sequence[tuple[int, int]], labels: Sequence[str], last: int
) -> Iterable[tuple[int, int, str]]:
    """Intervals from 0 to the end, with empty ones in the gaps."""
    previous_end = 0
    for (start, end), label in zip(edges, labels, strict=True):
        if start > previous_end:
            yield previous_end, start, ""
        yield start, end, label
        previous_end = end
    if previous_end < last:
        yield previous_end, last, ""
