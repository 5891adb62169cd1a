"""``growth.json``: for which new speech experts were added to a run, and with which result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from phoneme_moe.files.documents import Document

GROWTH = "growth.json"


class Change(BaseModel):
    """Errors on the same utterances before and after growing."""

    utterances: int = Field(ge=1)
    before: float = Field(ge=0, description="Phoneme error rate before, a fraction.")
    after: float = Field(ge=0, description="Phoneme error rate after.")
    interval: list[float] = Field(
        min_length=2, max_length=2, description="95 % interval of the change, paired bootstrap."
    )
    badly_served_before: int = Field(ge=0, description="Utterances below the threshold before.")
    badly_served_after: int = Field(ge=0, description="Utterances below the threshold after.")


class Cluster(BaseModel):
    """A cluster of the badly served utterances of train."""

    utterances: int = Field(ge=1)
    speakers: dict[str, int] = Field(description="Number of its utterances by speaker.")


class AddedExpert(BaseModel):
    """An expert that was added."""

    layer: str | None = Field(description="Sparse layer; null for an expert behind the gate.")
    name: str
    new: float = Field(ge=0, description="Its share of the routing on the new test speech.")
    old: float = Field(ge=0, description="Its share of the routing on the old test speech.")


class GrowthDocument(Document):
    """growth.json of a run to which experts were added for new speech."""

    model_config = ConfigDict(title="growth.json of a grown run")

    version: Literal[1]
    corpus: str = Field(description="The corpus of the new speech.")
    threshold: float = Field(
        description="Log probability per phoneme, in nats, below which an utterance is served "
        "badly: the 5 % quantile of the run's own dev speech."
    )
    utterances: int = Field(ge=1, description="Utterances of the new speech in train.")
    badly_served: int = Field(ge=0, description="Those of them that were served badly.")
    clusters: list[Cluster] = Field(description="The badly served utterances, the largest first.")
    experts: list[AddedExpert]
    new: Change = Field(description="On the new speech's test split.")
    old: Change = Field(description="On the old test split.")
