"""The section that shows and plays utterances over time."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phoneme_moe.report.number_format import percent, plural, seconds_text
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.report.page.parts import Block, Figure, Section
from phoneme_moe.report.page.time_view import TimeView, phoneme_table

Document = Mapping[str, Any]

_WHY = {
    "typical": "most typical of its speaker",
    "uncertain": "most uncertain",
    "worst": "most errors",
    "asked": "requested",
}
_TOKENS = (
    "A token is played as the model takes it, cut out of its word; phoneme-moe clips plays it with "
    "what surrounds it."
)


def time_section(document: Document, audio: Mapping[str, bytes]) -> Section | None:
    """The section: selected utterances over time."""
    utterances = document.get("utterances")
    if not utterances:
        return None
    choices = [
        (_label(one, document["unit"]), _view(document, one, i, audio.get(one["utterance"])))
        for i, one in enumerate(utterances)
    ]
    block = Block(
        "",
        _sentence(utterances, document["unit"]),
        choices=choices,
        id="utterance",
        data={"label": _noun(document["unit"]).capitalize()},
        hint=_TOKENS if document["unit"] == "token" else "",
    )
    return Section("time", f"{_noun(document['unit']).capitalize()}s over time", [block])


def _noun(unit: str) -> str:
    """Noun for what is shown: an utterance of frames, or a token."""
    return "token" if unit == "token" else "utterance"


def _sentence(utterances: Sequence[Mapping[str, Any]], unit: str) -> str:
    sentence = plural(len(utterances), _noun(unit))
    by_reason = {one["why"]: one for one in reversed(utterances)}
    typical, uncertain = by_reason.get("typical"), by_reason.get("uncertain")
    if typical and uncertain:
        sentence += (
            f": the effective number of experts within a {unit} is {_effective(uncertain):.1f} in "
            f"the most uncertain, {uncertain['utterance']}, and {_effective(typical):.1f} in a "
            "typical one"
        )
    worst = by_reason.get("worst")
    if worst and worst["error_rate"] is not None and unit != "token":
        sentence += f"; the highest error rate is {percent(worst['error_rate'])}"
    return f"{sentence}."


def _view(document: Document, one: Mapping[str, Any], index: int, sound: bytes | None) -> Block:
    experts = document["experts"]
    colours = expert_colours(len(experts))
    view = TimeView(one, colours)
    drawn = view.drawn
    legend = [(colours[i], experts[i]) for i in drawn]
    rest = len(experts) - len(drawn)
    if rest:
        legend.append(("var(--rest)", f"{rest} others"))
    figure = Figure(
        f"time-{index}",
        f"Waveform, spectrogram, phonemes, gate weights and entropy of {one['utterance']}",
        "",
        view,
        legend=legend,
    )
    load = np.asarray(one["weights"], dtype=float).mean(axis=0)
    best = int(load.argmax())
    sentence = (
        f"{one['speaker']}, {seconds_text(one['seconds'])}: {percent(load[best])} of the weight is "
        f"on {experts[best]}; effective number of experts within a {document['unit']}: "
        f"{_effective(one):.1f}{_errors(one, document['unit'])}"
    )
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


def _errors(one: Mapping[str, Any], unit: str) -> str:
    """Clause on the errors of an utterance, or on what a token is recognised as."""
    if one["error_rate"] is None:
        return ""
    if unit != "token":
        return f"; phoneme error rate {percent(one['error_rate'])}"
    if not one["error_rate"]:
        return "; recognised correctly"
    hypothesis = " ".join(segment["phoneme"] for segment in one["hypothesis"])
    return f"; misrecognised as {hypothesis or 'nothing'}"


def _label(one: Mapping[str, Any], unit: str) -> str:
    why = _WHY.get(one["why"], one["why"])
    if one["why"] == "worst" and unit == "token":
        why = "misrecognised"
    return f"{one['utterance']} ({why})"


def _effective(one: Mapping[str, Any]) -> float:
    """Effective number of experts within a frame or token: 2 to the mean entropy in bits."""
    return float(2 ** np.mean(one["entropy"]))


def _data_uri(sound: bytes) -> str:
    """The audio as a data URI, of WAV if it has the RIFF signature, otherwise Ogg."""
    kind = "audio/wav" if sound[:4] == b"RIFF" else "audio/ogg"
    return f"data:{kind};base64,{base64.b64encode(sound).decode()}"
