"""From goodness of pronunciation to a score that means a probability."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GoodnessCalibration:
    """Logistic function of the goodness of a phoneme (Platt 1999), fitted on dev.

    Attributes:
        slope: Change of the log odds per unit of goodness, 0 or more.
        intercept: Log odds at goodness 0.
    """

    slope: float
    intercept: float

    def score(self, goodness: float) -> float:
        """Probability that the phoneme of the text was spoken, in percent, 0..100.

        Half of the phonemes that it was fitted on had been replaced.

        Args:
            goodness: Natural logarithm of the likelihood ratio between the phoneme and the best
                alternative.
        """
        log_odds = self.slope * goodness + self.intercept
        return 50 * (1 + math.tanh(log_odds / 2))  # the logistic function, without overflow
