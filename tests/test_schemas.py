"""The schemas in docs/schemas are those of the pydantic models."""

from __future__ import annotations

import json

import jsonschema
import pytest

from benchmarks.schemas import DOCUMENTS, SCHEMAS, schema_text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_schema_is_that_of_the_model(name: str) -> None:
    text = schema_text(DOCUMENTS[name])
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    committed = (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8")
    assert committed == text, "run: python -m benchmarks.schemas"
