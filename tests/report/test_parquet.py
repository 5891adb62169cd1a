from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.report.collect import parquet
from phoneme_moe.report.collect.parquet import RoutingParquet
from phoneme_moe.report.collect.table import UtteranceRouting

DOC = Path(__file__).parents[2] / "docs" / "routing_table.md"
EXPERTS = tuple(f"expert_{i}" for i in range(5))
PHONEMES = ("a", "NA", "nan", "ʃ")
STRANGE = ('"quoted"', "<script>alert(1)</script>", "שלום/עולם", "a/b\\c", "", " ", "NA", "a,b\nc")


def routed(
    random: np.random.Generator,
    rows: int,
    top: int,
    utterance: str = "u",
    speaker: str = "s",
    experts: int = len(EXPERTS),
) -> UtteranceRouting:
    """Random weights of ``top`` experts in each row, and random phonemes, some of them none."""
    weights = np.zeros((rows, experts), dtype=np.float32)
    chosen = random.random((rows, experts)).argsort(axis=1)[:, :top]
    drawn = random.dirichlet(np.ones(top), rows).astype(np.float32) + np.float32(1e-6)
    np.put_along_axis(weights, chosen, drawn, axis=1)
    hypothesis = random.integers(-1, len(PHONEMES), rows)
    return UtteranceRouting(
        utterance=utterance,
        speaker=speaker,
        frame_seconds=0.02,
        weights=weights,
        phoneme=random.integers(-1, len(PHONEMES), rows),
        edge=np.zeros(rows, dtype=np.bool_),
        judged=hypothesis >= 0,
        right=(hypothesis >= 0) & (random.random(rows) < 0.5),
        hypothesis=hypothesis,
    )


def written(
    path: Path, utterances: Iterable[UtteranceRouting], layer: str | None = "encoder.3"
) -> Path:
    with RoutingParquet(path, EXPERTS, PHONEMES, layer) as table:
        for one in utterances:
            table.add(one)
    return path


def name_of(index: int) -> str | None:
    return None if index < 0 else PHONEMES[index]


def lines(one: UtteranceRouting, layer: str, experts: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of the file that an utterance should give."""
    assert one.hypothesis is not None
    return [
        {
            "utterance": one.utterance,
            "speaker": one.speaker,
            "layer": layer,
            "frame": int(frame),
            "start": frame * one.frame_seconds,
            "phoneme": None if one.phoneme[frame] < 0 else PHONEMES[one.phoneme[frame]],
            "hypothesis": name_of(one.hypothesis[frame]),
            "correct": bool(one.right[frame]) if one.judged[frame] else None,
            "expert": experts[expert],
            "weight": float(one.weights[frame, expert]),
            "selected": True,
        }
        for frame, expert in zip(*np.nonzero(one.weights), strict=True)
    ]


@st.composite
def splits(draw: st.DrawFn) -> list[UtteranceRouting]:
    """Utterances of any length, dense and sparse, with names of any letters."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Half of a surrogate pair is no text and fits no file.
    name = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(STRANGE)
    names = draw(st.lists(st.tuples(name, name), max_size=6, unique_by=lambda pair: pair[0]))
    return [
        routed(random, draw(st.integers(0, 30)), draw(st.sampled_from([1, 2, 5])), utterance, who)
        for utterance, who in names
    ]


@pytest.mark.slow
@given(splits(), st.sampled_from([1, 7, 64, parquet.LINES]))
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, split: list[UtteranceRouting], group: int
) -> None:
    path = tmp_path_factory.mktemp("routing") / "routing.parquet"
    # Small row groups: utterances end inside them and go over their bounds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "LINES", group)
        written(path, split)
    expected = [line for one in split for line in lines(one, "encoder.3", EXPERTS)]
    assert pq.read_table(path).to_pylist() == expected
    groups = pq.ParquetFile(path).metadata
    for number in range(groups.num_row_groups):
        assert groups.row_group(number).num_rows < 2 * max(group, len(EXPERTS))


@pytest.mark.parametrize("top", [1, 2, len(EXPERTS)])
def test_a_line_for_every_selected_expert(tmp_path: Path, top: int) -> None:
    one = routed(np.random.default_rng(0), 40, top)
    table = pq.read_table(written(tmp_path / "routing.parquet", [one]))
    frame, expert = np.nonzero(one.weights)
    assert len(table) == 40 * top
    assert table["frame"].to_pylist() == frame.tolist()
    assert table["expert"].to_pylist() == [EXPERTS[i] for i in expert]
    assert table["weight"].to_pylist() == one.weights[frame, expert].tolist()
    assert all(table["selected"].to_pylist())


def test_layers_alternate(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    path = tmp_path / "routing.parquet"
    others = ("other", *EXPERTS[:2])
    added = []
    with RoutingParquet(path, EXPERTS, PHONEMES) as table:
        for i in range(4):
            layer, experts = (None, EXPERTS) if i % 2 == 0 else ("b", others)
            table.change_layer(layer, experts)
            # The same utterance goes through both layers.
            one = routed(random, 9, 2, f"u{i // 2}", experts=len(experts))
            table.add(one)
            added += lines(one, layer or "gate", experts)
    assert pq.read_table(path).to_pylist() == added


def test_columns_are_those_of_the_documentation(tmp_path: Path) -> None:
    path = written(tmp_path / "routing.parquet", [routed(np.random.default_rng(0), 3, 2)])
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", DOC.read_text(encoding="utf-8"), re.M)
    schema = pq.read_schema(path)
    assert [(field.name, str(field.type)) for field in schema] == [row[:2] for row in rows]
    described = json.loads(schema.metadata[b"columns"])
    assert described == {name: text.replace("`", "") for name, _, text in rows}
    assert json.loads(schema.metadata[b"layers"]) == {"encoder.3": list(EXPERTS)}
    assert json.loads(schema.metadata[b"phonemes"]) == list(PHONEMES)
    assert f"the version, {schema.metadata[b'phoneme_moe.routing'].decode()}." in DOC.read_text()


def test_groups_can_be_made_over_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow, and so dplyr, refuses to group by dictionaries that differ between row groups."""
    monkeypatch.setattr(parquet, "LINES", 8)
    random = np.random.default_rng(2)
    split = [routed(random, 10, 2, f"u{i}", f"s{i % 3}") for i in range(6)]
    table = pq.read_table(written(tmp_path / "routing.parquet", split))
    assert len(table["speaker"].chunks) > 1
    sums = table.group_by("speaker").aggregate([("weight", "sum")]).to_pydict()
    for speaker, total in zip(sums["speaker"], sums["weight_sum"], strict=True):
        expected_sum = sum(one.weights.sum() for one in split if one.speaker == speaker)
        assert total == pytest.approx(expected_sum)


def interrupted(one: UtteranceRouting) -> Iterator[UtteranceRouting]:
    yield one
    raise KeyboardInterrupt


def test_nothing_is_left_of_a_file_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = routed(np.random.default_rng(0), 10, 2)
    path = written(tmp_path / "routing.parquet", [one])
    before = path.read_bytes()
    monkeypatch.setattr(parquet, "LINES", 4)
    for broken in (
        dataclasses.replace(one, phoneme=one.phoneme[:-1]),
        dataclasses.replace(one, phoneme=np.full(10, len(PHONEMES))),
    ):
        with pytest.raises((IndexError, pa.ArrowException)):
            written(path, [one, broken])
    with pytest.raises(KeyboardInterrupt):
        written(path, interrupted(one))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_failure_of_the_last_lines_leaves_nothing(tmp_path: Path) -> None:
    one = routed(np.random.default_rng(0), 10, 2, utterance="\ud800")
    with pytest.raises(UnicodeEncodeError):
        written(tmp_path / "routing.parquet", [one])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layers", [(None,), ("block_2", "block_4")], ids=["gate", "layers"])
def test_the_examples_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[str | None, ...]
) -> None:
    random = np.random.default_rng(3)
    path = tmp_path / "routing.parquet"
    split = [routed(random, 20 + i, 2, f"u{i}", f"s{i % 2}") for i in range(6)]
    with RoutingParquet(path, EXPERTS, PHONEMES, layers[0]) as table:
        for one in split:
            for layer in layers[:-1]:
                table.change_layer(layer, EXPERTS)
                other = routed(random, len(one.weights), 2)
                table.add(dataclasses.replace(one, weights=other.weights))
            table.change_layer(layers[-1], EXPERTS)
            table.add(one)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    document = DOC.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", document, re.S):
        exec(block, namespace)

    means, entropy, share = namespace["means"], namespace["entropy"], namespace["share"]
    (query,) = re.findall(r"```sql\n(.*?)```", document, re.S)
    found = duckdb.sql(query.replace("block_4", layers[-1] or "gate")).fetchall()
    by_name = {(speaker, expert): weight for speaker, expert, weight in found}
    for speaker in ("s0", "s1"):
        weights = np.concatenate([one.weights for one in split if one.speaker == speaker])
        mean = weights.mean(axis=0)
        assert means.loc[speaker, list(EXPERTS)].tolist() == pytest.approx(mean, abs=1e-5)
        assert [by_name[speaker, e] for e in EXPERTS] == pytest.approx(mean, abs=1e-5)
    last = split[-1].weights.astype(np.float64)
    terms = np.where(last > 0, -last * np.log2(np.where(last > 0, last, 1)), 0)
    assert entropy.tolist() == pytest.approx(terms.sum(axis=1), abs=1e-5)
    weights = np.concatenate([one.weights for one in split])
    phoneme = np.concatenate([one.phoneme for one in split])
    for index, name in enumerate(PHONEMES):
        expected_sum = weights[phoneme == index].mean(axis=0)
        assert share[name] == pytest.approx(expected_sum[EXPERTS.index("expert_2")], abs=1e-5)
    right = np.concatenate([one.right for one in split])
    emitted = namespace["sums"].div(namespace["sums"].sum(axis=1), axis=0)
    expected = weights[right].mean(axis=0)
    assert emitted.loc[True, list(EXPERTS)].tolist() == pytest.approx(expected, abs=1e-5)
