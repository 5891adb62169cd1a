"""Transcripts as text and as JSON (docs/schemas/transcript.schema.json)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phoneme_moe.errors import InputError
from phoneme_moe.run import Run
from phoneme_moe.transcription.transcribe import Transcript

TRANSCRIPT_VERSION = 1


def to_text(transcript: Transcript) -> str:
    """One line: the file, a tab, the phonemes with spaces between."""
    return f"{transcript.path}\t{' '.join(transcript.phonemes)}"


def to_dict(transcript: Transcript, run: Run) -> dict[str, Any]:
    """Plain data; times in seconds to the millisecond, shares to 4 places."""
    return {
        "version": TRANSCRIPT_VERSION,
        "file": str(transcript.path),
        "run": str(run.folder),
        "recipe": run.recipe.name,
        "duration": round(transcript.duration, 3),
        "phonemes": list(transcript.phonemes),
        "segments": [
            {
                "phoneme": segment.phoneme,
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "confidence": round(segment.confidence, 4),
            }
            for segment in transcript.segments
        ],
        "routing": {name: round(weight, 4) for name, weight in transcript.routing.items()},
    }


def to_json(transcript: Transcript, run: Run) -> str:
    """One line of JSON."""
    return json.dumps(to_dict(transcript, run), ensure_ascii=False)


def output_names(files: Sequence[Path], suffix: str) -> list[str]:
    """A file name for each transcript, none twice.

    A recording's own name with another ending; where two recordings share it, the whole path.

    Args:
        files: The recordings.
        suffix: Ending of the transcripts, ``.json`` for one.

    Raises:
        InputError: A recording was named twice.
    """
    repeated = [path for path, count in Counter(files).items() if count > 1]
    if repeated:
        raise InputError(f"{repeated[0]}: named twice; expected every file once")
    stems = Counter(path.stem for path in files)
    names: list[str] = []
    for path in files:
        whole = "_".join(part for part in path.parts if part not in {"/", "..", "."})
        stem = path.stem if stems[path.stem] == 1 else whole
        # Different paths can still read the same: a/b.wav and a_b.wav.
        number = 2
        name = stem + suffix
        while name.lower() in {other.lower() for other in names}:
            name = f"{stem}_{number}{suffix}"
            number += 1
        names.append(name)
    return names
