"""JSON Schemas of recipes and of the files that phoneme_moe writes, from their pydantic models.

``python -m benchmarks.schemas`` writes ``docs/schemas``; a test holds the committed files against
the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from phoneme_moe.corpora.unknown_words import UnknownWords
from phoneme_moe.decoding.document import DecodingDocument
from phoneme_moe.evaluation.evaluation_document import EvaluationDocument
from phoneme_moe.evaluation.model_card import ModelCard
from phoneme_moe.evaluation.quality import Quality
from phoneme_moe.evaluation.stored_card import StoredCard
from phoneme_moe.files.writing import write_text
from phoneme_moe.model.adaptation import AdaptationDocument
from phoneme_moe.model.document import ModelDocument
from phoneme_moe.model.growth import GrowthDocument
from phoneme_moe.recipe import Recipe
from phoneme_moe.report.compare.document import ComparisonDocument
from phoneme_moe.report.document import RoutingDocument
from phoneme_moe.report.seeds.document import SeedsDocument
from phoneme_moe.transcription.bench import Speed
from phoneme_moe.transcription.onnx_metadata import OnnxMetadata
from phoneme_moe.transcription.shard import ShardDocument
from phoneme_moe.transcription.writers.documents import AlignmentDocument, TranscriptDocument
from phoneme_moe_reproductions.results import ReproductionDocument

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"

DOCUMENTS: Mapping[str, type[BaseModel]] = {
    "adaptation": AdaptationDocument,
    "alignment": AlignmentDocument,
    "comparison": ComparisonDocument,
    "decoding": DecodingDocument,
    "evaluation": EvaluationDocument,
    "growth": GrowthDocument,
    "model": ModelDocument,
    "model_card": ModelCard,
    "onnx": OnnxMetadata,
    "quality": Quality,
    "recipe": Recipe,
    "reproduction": ReproductionDocument,
    "routing": RoutingDocument,
    "seeds": SeedsDocument,
    "shard": ShardDocument,
    "speed": Speed,
    "stored_card": StoredCard,
    "transcript": TranscriptDocument,
    "unknown_words": UnknownWords,
}
"""By the name of the schema's file."""


class _Schema(GenerateJsonSchema):
    """Without titles that only repeat the keys, and without null as the default of absent keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        generated = super().default_schema(schema)
        if generated.get("default", 0) is None:
            del generated["default"]
        return generated


def schema_text(model: type[BaseModel]) -> str:
    """The JSON Schema of a document."""
    schema = model.model_json_schema(schema_generator=_Schema)
    schema = {"$schema": _Schema.schema_dialect, **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes all schemas."""
    for name, model in DOCUMENTS.items():
        path = SCHEMAS / f"{name}.schema.json"
        write_text(path, schema_text(model))
        print(path)


if __name__ == "__main__":
    main()
