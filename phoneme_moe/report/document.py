"""The report as one value, which page, terminal and programs read: ``routing.json``, version 2.

docs/schemas/routing.schema.json has every key, docs/routing.md what it means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from phoneme_moe.report.statistics import RoutingReport

#: Version of ``routing.json``; grows when a key changes its meaning or goes away.
SCHEMA_VERSION = 2


def means_of(report: RoutingReport, title: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """The means and what follows from them, as plain data.

    Lists over speakers, experts or phonemes run parallel to those names. Speaker by phoneme, the
    bulk, has six decimals.

    Args:
        report: The statistics.
        title: Heading of page and figure.
        facts: What the report is about (run, corpus, split ...), name to value.
    """
    return {
        "version": SCHEMA_VERSION,
        "title": title,
        "facts": dict(facts),
        "unit": report.unit,
        "num_rows": int(report.rows.sum()),
        "num_utterances": report.num_utterances,
        "speakers": list(report.speakers),
        "experts": list(report.experts),
        "phonemes": list(report.phonemes),
        "weights": report.weights.tolist(),
        "counts": {"rows": report.rows.tolist(), "utterances": report.utterances.tolist()},
        "most_used": [report.experts[best] for best in report.most_used],
        "effective_experts": report.effective_experts.tolist(),
        "effective_per_row": report.effective_per_row.tolist(),
        "own_share": list(report.own_share),
        "borrowed_from": [
            None if lender is None else report.experts[lender] for lender in report.borrowed_from
        ],
        "blended": list(report.blended),
        "load": report.load.tolist(),
        "users": [[report.speakers[user] for user in users] for users in report.users],
        "dead": [report.experts[expert] for expert in report.dead],
        "phoneme_weights": report.phoneme_weights.tolist(),
        "phoneme_counts": {
            "rows": report.phoneme_rows.tolist(),
            "utterances": report.phoneme_utterances.tolist(),
        },
        "speaker_phoneme_weights": [
            [None if np.isnan(weights[0]) else weights.tolist() for weights in speaker]
            for speaker in np.round(report.speaker_phoneme_weights, 6)
        ],
        "speaker_phoneme_rows": report.speaker_phoneme_rows.tolist(),
    }


def json_text(document: Mapping[str, Any]) -> str:
    """The document as JSON, one line per key; reading it gives the same numbers."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
