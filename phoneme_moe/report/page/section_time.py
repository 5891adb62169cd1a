"""The section that lets a reader see and hear utterances."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.report.page.parts import Block, Figure, Section, number, plural
from phoneme_moe.report.page.time_view import HEIGHT, heaviest, phoneme_table, time_view

Document = Mapping[str, Any]

_WHY = {
    "typical": "most typical of its speaker",
    "uncertain": "most uncertain",
    "worst": "worst recognised",
    "asked": "asked for",
}


def time_section(document: Document, audio: Mapping[str, bytes]) -> Section | None:
    """Chosen utterances on one time axis each."""
    utterances = document.get("utterances")
    if not utterances:
        return None
    choices = [
        (_label(one), _view(document, one, i, audio.get(one["utterance"])))
        for i, one in enumerate(utterances)
    ]
    block = Block(
        "", _sentence(document), choices=choices, id="utterance", extra={"choose": "Utterance"}
    )
    return Section("time", "In time", [block])


def _sentence(document: Document) -> str:
    utterances = document["utterances"]
    told = f"{plural(len(utterances), 'utterance')} to see and hear"
    by_reason = {one["why"]: one for one in reversed(utterances)}
    calm, torn = by_reason.get("typical"), by_reason.get("uncertain")
    if calm and torn:
        told += (
            f": in the most uncertain, {torn['utterance']}, a frame spreads over "
            f"{_effective(torn):.1f} experts, in a typical one over {_effective(calm):.1f}"
        )
    worst = by_reason.get("worst")
    if worst and worst["error_rate"] is not None:
        told += f"; the worst recognised has {100 * worst['error_rate']:.0f} % errors"
    return told + "."


def _view(document: Document, one: Mapping[str, Any], index: int, sound: bytes | None) -> Block:
    experts = document["experts"]
    colours = expert_colours(len(experts))
    drawn = heaviest(one)
    legend = [(colours[i], experts[i]) for i in drawn]
    rest = len(experts) - len(drawn)
    if rest:
        legend.append(("var(--rest)", f"{rest} others"))
    figure = Figure(
        f"time-{index}",
        f"Waveform, spectrogram, phonemes, gate weights and entropy of {one['utterance']}",
        "",
        time_view(one, colours),
        HEIGHT,
        legend=legend,
    )
    load = np.asarray(one["weights"], dtype=float).mean(axis=0)
    best = int(load.argmax())
    sentence = (
        f"{one['speaker']}, {number(one['seconds'], 1)} s: {100 * load[best]:.0f} % of the weight "
        f"goes to {experts[best]}, a frame spreads over {_effective(one):.1f} experts"
    )
    if one["error_rate"] is not None:
        sentence += f", {100 * one['error_rate']:.0f} % phoneme errors"
    return Block(
        "",
        sentence + ".",
        [figure],
        [phoneme_table(one, experts)],
        controls="player",
        id=f"time-{index}",
        extra={
            "audio": None if sound is None else _data_uri(sound),
            "seconds": one["seconds"],
            "utterance": one["utterance"],
            "names": [name for _, name in legend],
        },
    )


def _label(one: Mapping[str, Any]) -> str:
    return f"{one['utterance']} ({_WHY.get(one['why'], one['why'])})"


def _effective(one: Mapping[str, Any]) -> float:
    """Experts in effect inside a frame: 2 to the mean entropy in bits."""
    return float(2 ** np.mean(one["entropy"]))


def _data_uri(sound: bytes) -> str:
    """The file as an address that needs no file: WAV by its mark, else Ogg."""
    kind = "audio/wav" if sound[:4] == b"RIFF" else "audio/ogg"
    return f"data:{kind};base64,{base64.b64encode(sound).decode()}"
