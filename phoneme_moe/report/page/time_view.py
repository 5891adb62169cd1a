"""One utterance over time as data: waveform, spectrogram, phonemes, gate weights and entropy.

``time_plot.py`` draws it on the page, ``report/paper`` as a file for papers.
Legend: T rows (frames or tokens), E experts, D experts that are drawn.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoneme_moe.report.number_format import DASH, in_percent, number
from phoneme_moe.report.page.palette import shade
from phoneme_moe.report.page.parts import Cell, Table, row

Span = Mapping[str, Any]
Floats = NDArray[np.float64]
#: Number of experts drawn individually; the others are drawn together.
_DRAWN = 12


@dataclass(frozen=True, eq=False)
class TimeView:
    """The five panels of an utterance.

    Attributes:
        utterance: An entry of the document's ``utterances``.
        colours: Colour of each expert as ``#rrggbb``, shape (experts,).
    """

    utterance: Mapping[str, Any]
    colours: Sequence[str]

    @property
    def seconds(self) -> float:
        """Duration of the utterance."""
        return float(self.utterance["seconds"])

    @property
    def envelope(self) -> tuple[Floats, NDArray[np.float32], NDArray[np.float32]]:
        """Times in seconds, lowest and highest amplitudes, each of shape (points,); maybe empty."""
        envelope = self.utterance.get("envelope") or {"low": [], "high": [], "seconds_per_point": 0}
        low = np.asarray(envelope["low"], dtype=np.float32)
        high = np.asarray(envelope["high"], dtype=np.float32)
        times: Floats = np.arange(len(low), dtype=np.float64) + 0.5
        return times * envelope["seconds_per_point"], low, high

    @property
    def peak(self) -> float:
        """Upper end of the amplitudes."""
        _, low, high = self.envelope
        return max(float(np.abs(low).max(initial=0)), float(high.max(initial=0)), 1e-3) * 1.05

    @property
    def spectrogram(self) -> tuple[NDArray[np.uint8], float] | None:
        """Levels 0..255, shape (bands, columns), lowest band first, and their end in seconds."""
        mel = self.utterance.get("spectrogram")
        if not mel:
            return None
        levels = np.frombuffer(base64.b64decode(mel["base64"]), dtype=np.uint8)
        end = mel["columns"] * mel["seconds_per_column"]
        return levels.reshape(mel["bands"], mel["columns"]), end

    @property
    def frame_edges(self) -> Floats:
        """Start of each of the T rows and end of the last in seconds, shape (rows + 1,)."""
        rows = np.arange(len(self.utterance["weights"]) + 1, dtype=np.float64)
        return rows * float(self.utterance["frame_seconds"])

    @property
    def drawn(self) -> list[int]:
        """Experts drawn individually, greatest weight at the bottom."""
        load = np.asarray(self.utterance["weights"], dtype=float).mean(axis=0)
        order: list[int] = np.argsort(-load, kind="stable").tolist()
        return order if len(order) <= _DRAWN else order[: _DRAWN - 1]

    @property
    def stacked(self) -> tuple[Floats, list[str | None]]:
        """Upper edges of the stacked weights, 0..1, shape (drawn, rows), and their colours.

        The last ones are those of all other experts, with None for a colour, if there are any.
        """
        weights = np.asarray(self.utterance["weights"], dtype=np.float64)
        parts = [weights[:, i] for i in self.drawn]
        fills: list[str | None] = [self.colours[i] for i in self.drawn]
        if len(parts) < weights.shape[1]:
            parts.append(1 - np.sum(parts, axis=0))
            fills.append(None)
        return np.cumsum(parts, axis=0).clip(0, 1), fills

    @property
    def entropy(self) -> NDArray[np.float32]:
        """Entropy of the weights of each row in bits, shape (rows,)."""
        return np.asarray(self.utterance["entropy"], dtype=np.float32)

    @property
    def most_entropy(self) -> float:
        """Upper end of the entropy in bits."""
        return max(1.0, float(self.entropy.max(initial=0)) * 1.1)

    @property
    def rows_of_phonemes(self) -> tuple[tuple[str, Sequence[Span]], tuple[str, Sequence[Span]]]:
        """Name and phonemes of the reference, and of the hypothesis."""
        return (
            ("reference", self.utterance["reference"]),
            ("hypothesis", self.utterance["hypothesis"]),
        )

    def is_wrong(self, span: Span) -> bool:
        """Whether the reference does not have this phoneme at that time."""
        return not any(
            other["phoneme"] == span["phoneme"]
            and other["start"] < span["end"]
            and other["end"] > span["start"]
            for other in self.utterance["reference"]
        )


def phoneme_table(one: Mapping[str, Any], experts: Sequence[str]) -> Table:
    """Table of the reference phonemes with hypothesis and routing."""
    weights = np.asarray(one["weights"], dtype=float)
    entropy = np.asarray(one["entropy"], dtype=float)
    centres = (np.arange(len(weights)) + 0.5) * one["frame_seconds"]
    rows = []
    for span in one["reference"] or [{"phoneme": "whole", "start": 0, "end": one["seconds"]}]:
        inside = (centres >= span["start"]) & (centres < span["end"])
        if not inside.any():
            inside[np.abs(centres - (span["start"] + span["end"]) / 2).argmin()] = True
        mean = weights[inside].mean(axis=0)
        best = int(mean.argmax())
        hypothesis = " ".join(
            other["phoneme"]
            for other in one["hypothesis"]
            if other["start"] < span["end"] and other["end"] > span["start"]
        )
        rows.append(
            row(
                span["phoneme"],
                number(span["start"]),
                number(span["end"]),
                hypothesis or DASH,
                experts[best],
                Cell(in_percent(mean[best]), shade=shade(mean[best])),
                number(float(entropy[inside].mean())),
            )
        )
    return Table(
        "Every phoneme of the utterance, in seconds; weights in %, entropy in bits",
        ("reference", "start", "end", "hypothesis", "most used expert", "its weight", "entropy"),
        rows,
        frozenset({2, 3}),
    )
