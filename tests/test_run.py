from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from safetensors.torch import load_file, save_file

from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_path
from phoneme_moe.files.writing import write_json, write_text
from phoneme_moe.model.document import MODEL_VERSION
from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import Recipe
from phoneme_moe.run_folder import (
    choose_device,
    is_finished,
    load_run,
    read_recipe,
    save_decoding,
    save_model,
    save_recipe,
)

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
WAVEFORM = torch.randn(2, 6000, generator=torch.Generator().manual_seed(0))
NUM_SAMPLES = torch.tensor([6000, 4500])


@pytest.fixture
def copied(recognized: Trained, tmp_path: Path) -> Path:
    """The trained run, free to be spoilt."""
    return Path(shutil.copytree(recognized.run.folder, tmp_path / "run"))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_saving_and_loading_keeps_every_posterior_bit_for_bit(
    recognized: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    save_recipe(folder, recognized.run.recipe)
    save_model(folder, recognized.run.recipe, recognized.run.recognizer)
    save_decoding(folder, Decoding())
    loaded = load_run(folder)
    assert loaded.recipe == recognized.run.recipe
    assert not loaded.recognizer.training
    expected = recognized.run.recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES)
    found = loaded.recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES)
    assert torch.equal(found.log_posteriors, expected.log_posteriors)
    assert torch.equal(found.routing.weights, expected.routing.weights)
    assert (folder / "model.safetensors").read_bytes() == (
        recognized.run.folder / "model.safetensors"
    ).read_bytes()


def test_a_moved_run_is_the_same_run(recognized: Trained, copied: Path) -> None:
    one = recognized.run.recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES)
    other = load_run(copied).recognizer.recognize_waveforms(WAVEFORM, NUM_SAMPLES)
    assert torch.equal(one.log_posteriors, other.log_posteriors)


def test_model_files_alone_say_what_the_model_is(copied: Path, recognized: Trained) -> None:
    card = json.loads((copied / "model.json").read_text())
    schema = json.loads((SCHEMAS / "model.schema.json").read_text())
    jsonschema.validate(card, schema, jsonschema.Draft202012Validator)
    weights = load_file(copied / "model.safetensors")
    recognising = {name: w for name, w in weights.items() if not name.startswith("timing.")}
    assert card["num_parameters"] == sum(w.numel() for w in recognising.values())
    assert card["phonemes"] == ["a", "i", "m", "s"]
    assert card["experts"] == ["ann", "bob", "carol"]
    assert card["features"] == recognized.run.recipe.features.model_dump(mode="json")
    assert read_recipe(copied) == recognized.run.recipe


Spoil = Callable[[Path], object]


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Copies: safetensors maps the file, which is about to be overwritten."""
    return {name: w.clone() for name, w in load_file(folder / "model.safetensors").items()}


def wrong_shape(folder: Path) -> None:
    weights = read_weights(folder)
    weights["experts.network.input.bias"] = torch.zeros(3, 1, 7)
    save_file(weights, folder / "model.safetensors")


def lost_weight(folder: Path) -> None:
    weights = read_weights(folder)
    del weights["gate.network.output.bias"]
    save_file(weights, folder / "model.safetensors")


def surplus_weight(folder: Path) -> None:
    save_file(read_weights(folder) | {"extra": torch.zeros(1)}, folder / "model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(folder)))


def torch_saved(folder: Path) -> None:
    torch.save(read_weights(folder), folder / "model.safetensors")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / "exploded"),)


SPOILT: dict[str, tuple[Spoil, str, str]] = {
    "no folder": (shutil.rmtree, "", "no such run folder"),
    "no recipe": (lambda f: (f / "recipe.yaml").unlink(), "", "recipe.yaml"),
    "no card": (lambda f: (f / "model.json").unlink(), "", "no model.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "", "no model.safetensors"),
    "recipe not YAML": (lambda f: (f / "recipe.yaml").write_text("a: [b"), "recipe.yaml", "YAML"),
    "recipe not a mapping": (lambda f: (f / "recipe.yaml").write_text("3"), "recipe.yaml", ""),
    "recipe with an unknown key": (
        lambda f: (f / "recipe.yaml").open("a").write("colour: red\n"),
        "recipe.yaml",
        "unknown key colour",
    ),
    "card not JSON": (lambda f: (f / "model.json").write_text("{"), "model.json", ""),
    "card a list": (lambda f: (f / "model.json").write_text("[]"), "model.json", ""),
    "card not UTF-8": (lambda f: (f / "model.json").write_bytes(b"\xff"), "model.json", ""),
    "card without phonemes": (
        lambda f: (f / "model.json").write_text(
            json.dumps(
                {k: v for k, v in json.loads((f / "model.json").read_text()).items()
                 if k != "phonemes"}
            )
        ),
        "model.json",
        "phonemes",
    ),
    "another format": (
        lambda f: change_json(f / "model.json", format="other"), "model.json", "'other'"
    ),
    "newer version": (
        lambda f: change_json(f / "model.json", version=MODEL_VERSION + 1),
        "model.json",
        f"version: found {MODEL_VERSION + 1}",
    ),
    "version a word": (
        lambda f: change_json(f / "model.json", version="new"), "model.json", ""
    ),
    "unknown feature setting": (
        lambda f: change_json(f / "model.json", features={"n_melz": 3}), "model.json", ""
    ),
    "one expert more": (
        lambda f: change_json(f / "model.json", experts=["ann", "bob", "carol", "eve"]),
        "model.safetensors",
        "expected (4,",
    ),
    "more functions than experts": (
        lambda f: change_json(
            f / "model.json",
            model={"num_experts": "speakers", "functions": ["a", "b", "c", "d"], "gate": {}},
        ),
        "model.json",
        "no model can be built",
    ),
    "a network of the other task": (
        lambda f: change_json(
            f / "model.json", model={"expert": {"kind": "tdnn_1989"}}, experts=["ann"]
        ),
        "model.safetensors",
        "expected",
    ),
    "weights empty": (
        lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors", ""
    ),
    "weights cut short": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:-100]
        ),
        "model.safetensors",
        "not readable as safetensors",
    ),
    "weights garbage": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 1000), "model.safetensors", ""
    ),
    "weights pickled": (pickled, "model.safetensors", "not readable as safetensors"),
    "weights saved by torch": (torch_saved, "model.safetensors", "not readable as safetensors"),
    "wrong shape": (
        wrong_shape, "model.safetensors", "experts.network.input.bias: found shape (3, 1, 7)"
    ),
    "lost weight": (
        lost_weight, "model.safetensors", "gate.network.output.bias: found shape None"
    ),
    "surplus weight": (surplus_weight, "model.safetensors", "extra: found shape (1,)"),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_run_is_refused_in_one_line_that_names_file_and_key(
    copied: Path, how: str
) -> None:
    spoil, name, words = SPOILT[how]
    spoil(copied)
    with pytest.raises(InputError) as caught:
        load_run(copied)
    message = str(caught.value)
    assert message.startswith(f"{copied / name}: ")
    assert words in message
    assert len(message.splitlines()) == 1


def test_nothing_is_unpickled(copied: Path) -> None:
    pickled(copied)
    with pytest.raises(InputError):
        load_run(copied)
    assert not (copied / "exploded").exists()


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "decoding.json"])
def test_a_run_that_has_not_ended_says_how_to_finish_it(copied: Path, name: str) -> None:
    folder = copied.rename(copied.with_name("a run"))
    assert is_finished(folder)
    (folder / name).unlink()
    assert not is_finished(folder)
    with pytest.raises(InputError) as caught:
        load_run(folder)
    command = f"phoneme-moe train '{folder}/recipe.yaml' --out '{folder}' --resume"
    assert str(caught.value).endswith(f"(there is no {name}); finish it with: {command}")


def test_a_run_from_before_decoding_json_is_finished_by_its_evaluation(copied: Path) -> None:
    (copied / "decoding.json").unlink()
    (copied / "quality.json").unlink()
    assert (copied / "evaluation.json").is_file()
    assert load_run(copied).decoding == Decoding()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def spoilt_write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the new")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        spoilt_write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_succeeds_takes_the_place_with_the_usual_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    plain = tmp_path / "plain.txt"
    plain.write_text("x")
    assert path.read_text() == "two"
    assert path.stat().st_mode == plain.stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_json_that_others_could_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    write_json(tmp_path / "a.json", {"ɯ": [1, 0.1]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"ɯ": [1, 0.1]}


def test_a_saved_recipe_is_read_back_the_same(tmp_path: Path, classify_recipe: Recipe) -> None:
    save_recipe(tmp_path, classify_recipe)
    assert read_recipe(tmp_path) == classify_recipe


def test_a_device_is_checked_at_the_door() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="found 'tpu', expected cpu, cuda or auto"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        choose_device("cuda")
