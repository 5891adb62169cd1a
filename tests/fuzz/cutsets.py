"""Mutated Lhotse manifests and prepared corpora."""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.harness import Command
from tests.fuzz.mutations import mutate
from tests.fuzz.texts import mutate_plain, nested, own_data_folder, use, with_huge, write_wav

IDS = [f"{speaker}-{number}" for speaker in ("ana", "bo") for number in range(3)]


def cut_of(id: str, folder: Path) -> dict[str, Any]:
    """A cut as Lhotse writes it, of a recording of 0.3 s."""
    return {
        "id": id,
        "start": 0.0,
        "duration": 0.3,
        "channel": 0,
        "supervisions": [
            {
                "id": id,
                "recording_id": id,
                "start": 0.0,
                "duration": 0.3,
                "channel": 0,
                "text": "b a",
                "speaker": id.partition("-")[0],
                "custom": {"phonemes": ["b", "a"], "pronunciations": [[["b", "a"], ["a"]]]},
                "alignment": {"phoneme": [["b", 0.05, 0.1], ["a", 0.15, 0.1]]},
            }
        ],
        "recording": {
            "id": id,
            "sources": [{"type": "file", "channels": [0], "source": str(folder / f"{id}.wav")}],
            "sampling_rate": 8000,
            "num_samples": 2400,
            "duration": 0.3,
            "channel_ids": [0],
        },
        "type": "MonoCut",
    }


class CutSets:
    """CutSets, and prepared corpora whose files were changed afterwards."""

    name = "cutsets"

    def build(self, folder: Path, number: int) -> Sequence[Command]:
        """Three manifests; one or all are mutated."""
        own_data_folder()
        chance = random.Random(number)
        for id in IDS:
            write_wav(folder / "wav" / f"{id}.wav")
        cuts = [cut_of(id, folder / "wav") for id in IDS]
        prepared = number % 2 == 0
        target = folder / ("data/mine" if prepared else "cuts")
        target.mkdir(parents=True)
        for split, part in (("train", cuts[::3]), ("dev", cuts[1::3]), ("test", cuts[2::3])):
            content = _manifest(part, chance) if chance.random() < 0.4 else _lines(part)
            if chance.random() < 0.1:
                content = mutate(content, chance)
            packed = gzip.compress(content, mtime=0)
            if chance.random() < 0.05:
                packed = mutate(packed, chance)
            (target / f"cuts_{split}.jsonl.gz").write_bytes(packed)
        if not prepared:
            return use(folder, ["corpora", "prepare", "lhotse", "--from", "cuts"], number % 3 == 0)
        description: Any = {
            "name": "mine",
            "format_version": 1,
            "source": None,
            "settings": {},
            "splits": {
                split: {"speakers": 2, "utterances": 2, "seconds": 0.6, "phonemes": 4}
                for split in ("train", "dev", "test")
            },
            "phonemes": ["a", "b"],
            "speakers": {"ana": None, "bo": "M"},
        }
        if chance.random() < 0.3:
            description = mutate_plain(description, chance)
        (target / "corpus.json").write_text(_dumps(description))
        return use(folder, None, True)


def _manifest(cuts: list[dict[str, Any]], chance: random.Random) -> bytes:
    cuts = copy.deepcopy(cuts)
    match chance.randrange(16):
        case 0:
            return nested(10_000, "[", "]").encode()
        case 1:
            return nested(10_000, '{"id":', "}").encode()
        case 2:
            return b" " * chance.choice((10, 1_000_000, 40_000_000))
        case 3:
            return b"\n" * chance.choice((10, 100_000_000))
        case 4:
            return _lines(cuts).decode().encode(chance.choice(("utf-16", "utf-8-sig", "utf-7")))
        case 5:
            return _lines(cuts * 2)
        case _:
            chosen = chance.randrange(len(cuts))
            cuts[chosen] = mutate_plain(cuts[chosen], chance)
            return _lines(cuts)


def _lines(cuts: Sequence[Any]) -> bytes:
    return "".join(_dumps(cut) + "\n" for cut in cuts).encode()


def _dumps(data: Any) -> str:
    return with_huge(json.dumps(data))
