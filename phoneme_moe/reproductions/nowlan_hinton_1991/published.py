"""The paper's figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """An error of the paper in per cent, and half of its interval."""

    mean: float
    half: float

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean} ± {self.half}"


TRAINING = {
    "mixture": {
        "formants": Published(13.9, 0.9),
        "speaker": Published(4.6, 0.7),
        "mean": Published(13.0, 0.4),
        "both": Published(5.6, 0.6),
        "range": Published(11.6, 0.9),
    },
    "net": {
        "formants": Published(21.8, 0.6),
        "speaker": Published(6.2, 0.6),
        "mean": Published(15.4, 0.3),
        "both": Published(13.1, 1.0),
        "range": Published(13.5, 0.4),
    },
}
TESTING = {
    "mixture": {
        "formants": Published(15.1, 0.9),
        "speaker": Published(6.4, 1.3),
        "mean": Published(13.5, 0.6),
        "both": Published(6.2, 0.9),
        "range": Published(12.8, 0.9),
    },
    "net": {
        "formants": Published(23.3, 1.2),
        "mean": Published(18.4, 1.1),
        "both": Published(16.1, 1.0),
        "range": Published(16.2, 0.8),
    },
}
GROUPS = {"m": ("men", 84.4), "w": ("women", 42.9), "c": ("children", 86.7)}
"""Share of a group's speakers, in per cent, that have the group's commonest expert (Table 3)."""
