"""The section that shows and plays utterances over time."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import number, percent, plural
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.report.page.parts import Block, Figure, Section
from phoneme_moe.report.page.time_view import experts_drawn, phoneme_table, time_view

Document = Mapping[str, Any]

_WHY = {
    "typical": "most typical of its speaker",
    "uncertain": "most uncertain",
    "worst": "most errors",
    "asked": "requested",
}


def time_section(document: Document, audio: Mapping[str, bytes]) -> Section | None:
    """The section: selected utterances over time."""
    utterances = document.get("utterances")
    if not utterances:
        return None
    choices = [
        (_label(one), _view(document, one, i, audio.get(one["utterance"])))
        for i, one in enumerate(utterances)
    ]
    block = Block(
        "", _sentence(utterances), choices=choices, id="utterance", data={"label": "Utterance"}
    )
    return Section("time", "Utterances over time", [block])


def _sentence(utterances: Sequence[Mapping[str, Any]]) -> str:
    sentence = plural(len(utterances), "utterance")
    by_reason = {one["why"]: one for one in reversed(utterances)}
    typical, uncertain = by_reason.get("typical"), by_reason.get("uncertain")
    if typical and uncertain:
        sentence += (
            f": the effective number of experts within a frame is {_effective(uncertain):.1f} in "
            f"the most uncertain, {uncertain['utterance']}, and {_effective(typical):.1f} in a "
            "typical one"
        )
    worst = by_reason.get("worst")
    if worst and worst["error_rate"] is not None:
        sentence += f"; the highest error rate is {percent(worst['error_rate'])}"
    return f"{sentence}."


def _view(document: Document, one: Mapping[str, Any], index: int, sound: bytes | None) -> Block:
    experts = document["experts"]
    colours = expert_colours(len(experts))
    drawn = experts_drawn(one)
    legend = [(colours[i], experts[i]) for i in drawn]
    rest = len(experts) - len(drawn)
    if rest:
        legend.append(("var(--rest)", f"{rest} others"))
    figure = Figure(
        f"time-{index}",
        f"Waveform, spectrogram, phonemes, gate weights and entropy of {one['utterance']}",
        "",
        time_view(one, colours),
        legend=legend,
    )
    load = np.asarray(one["weights"], dtype=float).mean(axis=0)
    best = int(load.argmax())
    sentence = (
        f"{one['speaker']}, {number(one['seconds'], 1)} s: {percent(load[best])} of the weight is "
        f"on {experts[best]}; effective number of experts within a frame: {_effective(one):.1f}"
    )
    if one["error_rate"] is not None:
        sentence += f"; phoneme error rate {percent(one['error_rate'])}"
    return Block(
        "",
        sentence + ".",
        [figure],
        [phoneme_table(one, experts)],
        controls="player",
        id=f"time-{index}",
        data={
            "audio": None if sound is None else _data_uri(sound),
            "seconds": one["seconds"],
            "utterance": one["utterance"],
            "names": [name for _, name in legend],
        },
    )


def _label(one: Mapping[str, Any]) -> str:
    return f"{one['utterance']} ({_WHY.get(one['why'], one['why'])})"


def _effective(one: Mapping[str, Any]) -> float:
    """Effective number of experts within a frame: 2 to the mean entropy in bits."""
    return float(2 ** np.mean(one["entropy"]))


def _data_uri(sound: bytes) -> str:
    """The audio as a data URI, of WAV if it has the RIFF signature, otherwise Ogg."""
    kind = "audio/wav" if sound[:4] == b"RIFF" else "audio/ogg"
    return f"data:{kind};base64,{base64.b64encode(sound).decode()}"
