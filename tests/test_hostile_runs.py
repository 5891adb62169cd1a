"""Run folders from a stranger: refused in one line that names the file, in little memory and time.

``python -m tests.fuzz runs`` tries many more.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import phoneme_moe
from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.inference import recognize_split
from phoneme_moe.run_folder import load_run

RUNS = Path(__file__).parent / "fixtures" / "runs_0_1_0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of version 0.1.0, free to be spoilt."""
    return Path(shutil.copytree(RUNS / "gate", tmp_path / "run"))


def change(file: Path, *keys: Any, value: Any) -> None:
    """Changes a value of a JSON file."""
    document = json.loads(file.read_text())
    target = document
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    file.write_text(json.dumps(document))


def refused(folder: Path, name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        model_card(load_run(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder / name}: ")
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["recipe.yaml", "model.json", "decoding.json", "quality.json"])
@pytest.mark.parametrize("what", ["a folder", "a pipe", "a link to itself", "nothing", "deep"])
def test_what_stands_in_place_of_a_document_is_refused(run: Path, name: str, what: str) -> None:
    (run / name).unlink()
    if what == "a folder":
        (run / name).mkdir()
    elif what == "a pipe":
        os.mkfifo(run / name)
    elif what == "a link to itself":
        (run / name).symlink_to(run / name)
    else:
        (run / name).write_text("" if what == "nothing" else "[" * 10_000)
    refused(run, name, "")


@pytest.mark.parametrize(
    "keys", [("model", "expert", "width"), ("model", "gate", "width"), ("timing", "width")]
)
def test_a_model_without_its_weights_takes_no_memory(run: Path, keys: tuple[str, ...]) -> None:
    change(run / "model.json", *keys, value=5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(run, "model.safetensors", "expected")
    # One layer of the experts has 900 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_weights_that_are_not_finite_are_refused_by_name(run: Path) -> None:
    file = run / "model.safetensors"
    weights = {name: w.clone() for name, w in load_file(file).items()}
    name = max(weights)
    weights[name].view(-1)[-1] = torch.nan
    save_file(weights, file)
    refused(run, "model.safetensors", f"{name}: found a number that is not finite")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("features", "n_mels", 80), ("features", "hop_ms", 20.0), ("task", "phonemes", ["x", "y"])],
)
def test_the_recipe_of_another_run_is_refused(
    run: Path, section: str, key: str, value: Any
) -> None:
    file = run / "recipe.yaml"
    recipe = yaml.safe_load(file.read_text())
    recipe[section][key] = value
    file.write_text(yaml.safe_dump(recipe))
    refused(run, "model.json", f"{section}.{key}: found ")


def test_a_swapped_recipe_is_refused(run: Path) -> None:
    shutil.copy(RUNS / "sparse" / "recipe.yaml", run)
    refused(run, "model.json", f"as in {run / 'recipe.yaml'}")


@pytest.mark.parametrize("name", ["gate", "sparse"])
def test_weights_with_which_no_posterior_is_a_number_give_no_transcript(
    tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(RUNS / name, tmp_path / "run"))
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(
        {k: torch.full_like(w, 3e38 if w.is_floating_point() else 0) for k, w in weights.items()},
        file,
    )
    run = phoneme_moe.load(folder)
    for beam in (0, 4):
        with pytest.raises(
            InputError, match=f"^{folder}: log_posteriors: found values that are not"
        ):
            run.transcribe(RUNS / "carol.wav", beam=beam)
    features = torch.randn(5, 16)
    example = Example("a", "carol", ("a",), features)
    with pytest.raises(InputError, match="not finite numbers"):
        list(recognize_split(run.recognizer, [example]))


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (
            lambda f: change(f / "decoding.json", "language_model", "symbols", 0, value="u"),
            "decoding.json",
            "language_model.counts",
        ),
        (
            lambda f: change(
                f / "decoding.json",
                "language_model",
                value={"version": 1, "order": 1, "symbols": ["u"], "counts": {"": {"u": 1}}},
            ),
            "decoding.json",
            "language_model.symbols: found ['u'], expected the phonemes of",
        ),
        (
            lambda f: change(f / "decoding.json", "beam", value=10**9),
            "decoding.json",
            "beam: found",
        ),
        (lambda f: change(f / "quality.json", "beam", value=10**40), "quality.json", "beam: found"),
        (lambda f: change(f / "quality.json", "test", value=[]), "quality.json", "test: found []"),
    ],
)
def test_a_wrong_value_is_named(
    run: Path, spoil: Callable[[Path], None], name: str, words: str
) -> None:
    spoil(run)
    refused(run, name, words)


def test_an_n_gram_whose_tables_need_gigabytes_is_refused(run: Path) -> None:
    symbols = [f"p{number}" for number in range(1000)]
    contexts = [f"{a} {b}" for a in symbols[:200] for b in symbols[:200]]
    counts = {context: {"p1": 1} for context in contexts}
    ngram = {"version": 1, "order": 3, "symbols": symbols, "counts": counts}
    change(run / "decoding.json", "language_model", value=ngram)
    refused(run, "decoding.json", "language_model.counts: found an n-gram of 40,")
