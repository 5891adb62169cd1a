"""Routers, corpora, formats and experiments of other installed packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from typer import BadParameter

from phoneme_moe.cli.options import transcript_format
from phoneme_moe.corpora import CORPORA
from phoneme_moe.corpora.registry import CorpusSource
from phoneme_moe.errors import InputError
from phoneme_moe.extensions import Registry
from phoneme_moe.recipe import load_recipe
from phoneme_moe.recipe.router_kinds import ROUTERS, RouterKind
from phoneme_moe.transcription.formats import FORMATS, alignment_formats

MODULE = """
import torch
from torch import nn
from torch.nn import functional

from phoneme_moe.corpora.registry import CorpusSource
from phoneme_moe.mixture.sparse.scores import Scores
from phoneme_moe.recipe.router_kinds import RouterKind
from phoneme_moe.transcription.formats import Format
from phoneme_moe_reproductions import Reproduction


class CosineScores(Scores):
    def __init__(self, num_features, num_experts, seed=0):
        super().__init__(num_features, num_experts, seed)
        self.weight = nn.Parameter(torch.randn(num_experts, num_features))

    def forward(self, inputs):
        unit = functional.normalize(inputs.float(), dim=-1)
        return unit @ functional.normalize(self.weight, dim=-1).T


COSINE = RouterKind(
    "cosines with learned directions", True, frozenset({"noise"}), "acme_speech:CosineScores"
)
CORPUS = CorpusSource("acme", "Two speakers say yes and no", "CC0 1.0", True, "acme_speech")
COUNT = Format(".count", lambda transcript: f"{len(transcript.phonemes)}\\n")
EXPERIMENT = Reproduction("Experts of Acme against one", "acme_speech:STUDY")
WRONG = 3
"""

POINTS = """[phoneme_moe.routers]
cosine = acme_speech:COSINE
missing = acme_speech:NOTHING
wrong = acme_speech:WRONG
[phoneme_moe.corpora]
acme = acme_speech:CORPUS
[phoneme_moe.formats]
count = acme_speech:COUNT
[phoneme_moe.experiments]
acme = acme_speech:EXPERIMENT
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that registers one of each."""
    folder = tmp_path / "site"
    info = folder / "acme_speech-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_speech.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-speech\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(folder)
    registries: list[Registry[Any]] = [ROUTERS, CORPORA, FORMATS]
    for registry in registries:
        monkeypatch.delitem(registry.__dict__, "_of_packages", raising=False)
    yield folder
    for registry in registries:
        registry.__dict__.pop("_of_packages", None)
    sys.modules.pop("acme_speech", None)


def test_names_of_other_packages_come_after_those_of_this_one(acme: Path) -> None:
    assert list(ROUTERS)[:2] == ["linear", "tree"]
    assert {"cosine", "missing", "wrong"} <= set(ROUTERS)
    assert len(ROUTERS) == len(list(ROUTERS))
    assert isinstance(ROUTERS["cosine"], RouterKind)
    assert isinstance(CORPORA["acme"], CorpusSource)
    assert FORMATS["count"].suffix == ".count"
    assert "count" in alignment_formats()
    assert transcript_format("count") == "count"
    with pytest.raises(BadParameter, match=r"found 'cuont', expected one of txt, .*count, all"):
        transcript_format("cuont")
    assert "nothing" not in ROUTERS
    with pytest.raises(KeyError):
        ROUTERS["nothing"]


def test_what_cannot_be_used_names_its_package(acme: Path) -> None:
    with pytest.raises(InputError, match=r"'missing' of the package acme-speech cannot be loaded"):
        ROUTERS["missing"]
    with pytest.raises(InputError, match=r"'wrong' of .* found int, expected RouterKind"):
        ROUTERS["wrong"]


def test_an_unknown_kind_of_router_is_refused() -> None:
    change = 'model.encoder.sparse.router.kind="linaer"'
    with pytest.raises(InputError, match=r"router\.kind: .*linaer.*did you mean 'linear'"):
        load_recipe(tiny.RECIPES / "tiny_sparse.yaml", [change])


def test_settings_that_no_kind_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found \['temperature'\]"):
        RouterKind("warm", True, frozenset({"temperature"}))


def test_settings_of_a_registered_kind_are_checked(acme: Path) -> None:
    points = acme / "acme_speech-1.0.dist-info" / "entry_points.txt"
    points.write_text("[phoneme_moe.routers]\ncosine = acme_speech:COSINE\n")
    changes = ["model.encoder.sparse.router={kind: cosine, top_k: 2, noise: gumbel}"]
    changes.append("model.encoder.sparse.balance={switch: 0.01}")
    recipe = load_recipe(tiny.RECIPES / "tiny_sparse.yaml", changes)
    assert recipe.model.encoder is not None
    assert recipe.model.encoder.sparse is not None
    assert recipe.model.encoder.sparse.router.learns
    changes[0] = "model.encoder.sparse.router={kind: cosine, straight_through: true}"
    with pytest.raises(InputError, match="straight_through: found True, which is for kind: linear"):
        load_recipe(tiny.RECIPES / "tiny_sparse.yaml", changes)


@pytest.mark.slow
def test_a_run_with_a_registered_router_is_trained_evaluated_and_grown_or_refused(
    acme: Path, tones: Any, tmp_path: Path
) -> None:
    points = acme / "acme_speech-1.0.dist-info" / "entry_points.txt"
    points.write_text("[phoneme_moe.routers]\ncosine = acme_speech:COSINE\n")
    from phoneme_moe.pipeline import train

    changes = ["model.encoder.sparse.router={kind: cosine, top_k: 2, weigh: before}"]
    changes += ["model.encoder.sparse.balance={switch: 0.01}", "training.stages.joint.epochs=2"]
    trained = train(tiny.RECIPES / "tiny_sparse.yaml", tmp_path / "run", changes=changes)
    names = [name for name, _ in trained.run.recognizer.named_parameters()]
    assert any(name.endswith("scores.weight") for name in names)
    from phoneme_moe.training.grow import grown_recipe

    with pytest.raises(InputError, match=r"kind: cosine, .* expected linear or soft"):
        grown_recipe(trained.run.recipe, 1, 1, None)


def test_commands_list_them(acme: Path) -> None:
    def lines(*arguments: str) -> str:
        command = [sys.executable, "-m", "phoneme_moe", *arguments]
        environment = {"PYTHONPATH": f"{acme}:{Path(__file__).parents[1]}", "COLUMNS": "120"}
        done = subprocess.run(command, capture_output=True, text=True, env=_with(environment))
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Two speakers say yes and no" in lines("corpora", "list")
    assert "Experts of Acme against one" in lines("reproduce", "list")


def _with(more: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **more}
