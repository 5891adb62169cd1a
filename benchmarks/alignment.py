"""How far the onsets are off that tokens of real digits are cut by.

``python -m benchmarks.alignment``; needs FSDD and speechocean762, prepared.
"""

from __future__ import annotations

from benchmarks import page, results
from phoneme_moe.reproductions.alignment import Aligner
from phoneme_moe.reproductions.alignment_errors import alignment_errors


def main() -> None:
    """Measures and writes."""
    results.keep("alignment", alignment_errors(Aligner(company="speechocean762")))
    page.write()


if __name__ == "__main__":
    main()
