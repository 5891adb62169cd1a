"""``adaptation.json``: to which speaker a run was adapted, and with which result."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from phoneme_moe.files.documents import Document

ADAPTATION = "adaptation.json"


class AdaptationDocument(Document):
    """adaptation.json of a run that was adapted to a new speaker."""

    model_config = ConfigDict(title="adaptation.json of an adapted run")

    version: Literal[1]
    way: Literal["gate", "expert"] = Field(
        description="gate: only the gate was trained; expert: also a new expert."
    )
    speaker: str
    learned: int = Field(ge=0, description="Number of training utterances.")
    held_out: int = Field(ge=0, description="Number of held-out utterances.")
    before: float = Field(
        ge=0, description="Error rate on the held-out utterances before adaptation, a fraction."
    )
    after: float = Field(ge=0, description="Error rate on them after adaptation.")
    interval: list[float] = Field(
        min_length=2, max_length=2, description="95 % interval of the change, paired bootstrap."
    )
    old_before: float | None = Field(
        description="Error rate of the old speakers on test before; null if not measured."
    )
    old_after: float | None = Field(description="Error rate on them after adaptation.")
    blend: dict[str, float] = Field(
        description="Mean weight of each expert on the held-out utterances, by name."
    )
    pays: bool = Field(description="Whether the error rate on the held-out utterances fell.")
    earlier_speakers: list[str] = Field(
        default=[], description="Speakers of earlier adaptations of the run, in order."
    )

    def line(self) -> str:
        """The adaptation in words."""
        trained = "the gate" if self.way == "gate" else "the gate and a new expert"
        text = (
            f"to the speaker {self.speaker}: {trained}, trained on {self.learned} utterances; "
            f"on {self.held_out} others {_percent(self.before)} PER before, "
            f"{_percent(self.after)} after"
        )
        if self.old_before is not None and self.old_after is not None:
            text += (
                f"; old speakers on test {_percent(self.old_before)} before, "
                f"{_percent(self.old_after)} after"
            )
        if self.earlier_speakers:
            text += f"; adapted before to {', '.join(self.earlier_speakers)}"
        return text


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
