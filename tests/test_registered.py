"""Whatever is registered works everywhere and is documented; a failure names what was forgotten."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import phoneme_moe
from phoneme_moe.corpora import CORPORA
from phoneme_moe.corpora.registry import Preparation
from phoneme_moe.decoding.decoder import Segment
from phoneme_moe.errors import InputError
from phoneme_moe.model.cost import cost_of
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import load_recipe
from phoneme_moe.recipe.load import shipped_recipes
from phoneme_moe.recipe.router_kinds import ROUTERS
from phoneme_moe.report.collect.table import RoutingTable
from phoneme_moe.report.measures import MEASURES, measure
from phoneme_moe.report.statistics import summarize
from phoneme_moe.transcription.formats import FORMATS
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe_reproductions import EXPERIMENTS

ROOT = Path(__file__).parents[1]

NEEDS = {"tree": "levels: [2, 2]", "rule": "function: registered_even"}
"""Settings without which a kind is no router."""


def document(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", list(ROUTERS.items_here))
def test_a_router_is_built_routes_and_has_a_cost(kind: str) -> None:
    phoneme_moe.register_gate("registered_even", lambda features, mask: features[..., :4] * 0)
    router = f"{{kind: {kind}, {NEEDS.get(kind, '')}}}"
    changes = [f"model.encoder.sparse.router={router}", "model.encoder.sparse.balance=null"]
    recipe = load_recipe(tiny.RECIPES / "tiny_sparse.yaml", changes)
    torch.manual_seed(0)
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, ("a", "i"), ("encoder",))
    features, mask = torch.randn(2, 24, 16), torch.ones(2, 24, dtype=torch.bool)
    recognition = recognizer(features, mask)
    assert bool(recognition.log_posteriors.isfinite().all())
    assert recognition.layers
    for layer in recognition.layers:
        weights = layer.routing().log_weights.exp()
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, weights.shape[1]))
    assert recognizer.encoder is not None
    assert cost_of(recognizer.encoder).active > 0
    learned = [name for name, _ in recognizer.named_parameters() if "router" in name]
    assert bool(learned) == ROUTERS[kind].learns or kind == "soft"


@pytest.mark.parametrize("kind", list(ROUTERS.items_here))
def test_a_router_is_in_the_table_of_sparse_layers(kind: str) -> None:
    assert f"| `kind: {kind}`" in document("docs/sparse.md"), f"docs/sparse.md: no row for {kind}"


@pytest.mark.parametrize("name", list(FORMATS.items_here))
def test_a_format_is_in_the_table_of_formats(name: str) -> None:
    rows = [line for line in document("docs/transcription.md").split("\n") if f"`{name}`" in line]
    assert any(row.startswith("|") for row in rows), f"docs/transcription.md: no row for {name}"


def test_formats_have_suffixes_of_their_own() -> None:
    # --format all writes them all into one folder.
    suffixes = [format.suffix for format in FORMATS.values()]
    assert sorted(set(suffixes)) == sorted(suffixes)
    assert all(suffix.count(".") == 1 for suffix in suffixes)


@pytest.mark.parametrize("name", list(FORMATS.items_here))
def test_a_format_writes_any_transcript(name: str, tmp_path: Path) -> None:
    segment = Segment("a", 0.1, 0.25, 0.5, {"expert_0": 1.0})
    for segments in ((), (segment,)):
        transcript = Transcript(Path("a.wav"), 1.0, segments, (), {}, "run", "recipe")
        text = FORMATS[name].header + FORMATS[name].body(transcript)
        assert not text or text.endswith("\n"), f"{name}: its last line has no end"
        FORMATS[name].save(transcript, tmp_path / f"a{FORMATS[name].suffix}")


@pytest.mark.parametrize("name", [n for n, c in CORPORA.items_here.items() if c.needs_source])
def test_a_corpus_without_its_files_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("one W AH N\n")
    source = tmp_path / "source"
    source.mkdir()
    job = Preparation(tmp_path / "corpus", source=source, lexicon=lexicon)
    with suppress(InputError):
        assert CORPORA[name].settings(job) is not None
    with pytest.raises(InputError) as caught:
        CORPORA[name].prepare(job)
    assert str(source) in str(caught.value), f"{name}: its errors must name the folder"
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", list(CORPORA.items_here))
def test_a_corpus_is_explained_beside_the_data(name: str) -> None:
    assert f"`{name}`" in document("data/README.md"), f"data/README.md: no {name}"


@pytest.mark.parametrize("name", list(EXPERIMENTS.items_here))
def test_an_experiment_has_its_page(name: str) -> None:
    assert f"\n## {name}\n" in document("docs/reproduction.md")


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_is_in_the_table_of_recipes(name: str) -> None:
    rows = [line for line in document("README.md").split("\n") if line.startswith("| `")]
    cells = [row.split("|")[1] for row in rows]
    assert any(f"`{name}`" in cell for cell in cells), f"README.md: no row for {name}"


@pytest.mark.parametrize("name", list(MEASURES.items_here))
def test_a_measure_has_a_number_for_each_speaker_and_is_explained(name: str) -> None:
    table = RoutingTable(
        experts=("e", "f"),
        speakers=("ann", "bob"),
        phonemes=(),
        utterances=("u", "v"),
        weights=np.array([[1, 0], [0.5, 0.5]], np.float32),
        speaker=np.array([0, 1]),
        phoneme=np.array([-1, -1]),
        utterance=np.array([0, 1]),
    )
    assert len(measure(summarize(table))[name].by_speaker) == 2
    assert f"| `measures.{name}`" in document("docs/routing.md"), f"docs/routing.md: no {name}"
