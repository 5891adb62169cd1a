"""The table of error rates on a terminal of 80 columns."""

from __future__ import annotations

import io

from phoneme_moe.cli.tables import print_evaluation
from phoneme_moe.decoding.scoring import Score
from phoneme_moe.evaluation.errors import Evaluation
from phoneme_moe.system.console import PlainConsole


def test_long_names_of_several_corpora_are_whole() -> None:
    score = Score(0.1234, (0.1012, 0.2515), 1000, 100, 1000, 100_000, 900, ())
    speakers = ["an4/fjlp", "librispeech/1088", "librispeech-one-each/125", "speechocean762/0111"]
    corpora = ["an4", "librispeech", "librispeech-one-each", "speechocean762"]
    evaluation = Evaluation(
        "english",
        "+".join(corpora),
        "test",
        "recognize",
        ("a",),
        score,
        dict.fromkeys(speakers, score),
        tuple(speakers),
        by_corpus=dict.fromkeys(corpora, score),
    )
    out = io.StringIO()
    print_evaluation(PlainConsole(file=out, width=80), evaluation)
    rows = [line for line in out.getvalue().splitlines() if line.startswith("│")]
    shown = [row.strip("│").partition("│")[0].strip() for row in rows]
    assert shown == [f"{s} *" for s in speakers] + [f"corpus {c}" for c in corpora] + ["all"]
