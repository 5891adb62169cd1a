"""Runs on a pretrained encoder as two ONNX files: the same posteriors, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
import soundfile
import tiny
import torch
from encoders import HIDDEN, LAYERS, write_encoder

from phoneme_moe.errors import InputError
from phoneme_moe.files.hashes import hash_file
from phoneme_moe.model.front_end import pin_encoders
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.recipe import load_recipe
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.export import ENCODERS, export_onnx
from phoneme_moe.transcription.model_spec import Engine, ModelOutput
from phoneme_moe.transcription.onnx_encoder import encoder_path
from phoneme_moe.transcription.onnx_engine import OnnxEngine
from phoneme_moe.transcription.onnx_metadata import OnnxSpec
from phoneme_moe.transcription.recording import record
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.windowing import infer

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "onnx.schema.json"


def noise(num_samples: int, seed: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def fresh_run(encoder: Path, layers: str | int = "mix", *changes: str) -> LoadedRun:
    """A run on an encoder with fresh weights."""
    section = {"kind": "pretrained", "model": str(encoder), "layers": layers, "stack": 2}
    features = f"features={json.dumps(section)}"
    recipe = pin_encoders(load_recipe(tiny.RECIPES / "tiny_sparse.yaml", [features, *changes]))
    torch.manual_seed(0)
    adapters = recipe.model.adapters
    experts = ("ann", "bob") if adapters is not None else ("encoder",)
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, ("a", "i", "m"), experts)
    if recognizer.layer_mix is not None:
        torch.nn.init.normal_(recognizer.layer_mix.scores)
    return LoadedRun(encoder.parent / "run", recipe, recognizer.eval())


def posteriors(engine: Engine, *sounds: np.ndarray) -> list[ModelOutput]:
    front_end = engine.spec.front_end()
    return infer(engine, [record(sound, Path("a.wav"), front_end) for sound in sounds])


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoders") / "whisper", "whisper")


@pytest.fixture(scope="module")
def exported(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert export_onnx(fresh_run(whisper), path) == [path, path.with_name("model.encoder.onnx")]
    return path


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """Both files, to spoil them."""
    path = tmp_path / "copy.onnx"
    shutil.copyfile(exported, path)
    shutil.copyfile(encoder_path(exported), encoder_path(path))
    return path


EXPORTED: list[tuple[str, str | int]] = [
    ("whisper", "mix"),
    ("whisper", 1),
    ("wav2vec2", "mix"),
    ("wav2vec2-large", "last"),
    ("hubert", "last"),
    ("wavlm", "mix"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "layers"), EXPORTED)
def test_posteriors_are_those_of_the_run(family: str, layers: str | int, tmp_path: Path) -> None:
    run = fresh_run(write_encoder(tmp_path / family, family), layers)
    path = tmp_path / "model.onnx"
    export_onnx(run, path)
    reference, engine = RunEngine(run), OnnxEngine(path)
    for sounds in (
        [noise(330)],
        [noise(5_137)],
        [noise(16_000), noise(40_123, seed=2)],
        [noise(16_000 * 33 + 77)],
    ):
        expected = posteriors(reference, *sounds)
        for mine, theirs in zip(posteriors(engine, *sounds), expected, strict=True):
            np.testing.assert_allclose(mine.log_posteriors, theirs.log_posteriors, atol=1e-4)
            np.testing.assert_allclose(mine.weights, theirs.weights, atol=1e-4)


def test_every_family_that_is_exported_is_tested() -> None:
    families = {family.removesuffix("-large") for family, _ in EXPORTED}
    assert families == set(ENCODERS)


def test_a_recording_gives_the_posteriors_of_the_run(whisper: Path, exported: Path) -> None:
    sound = noise(24_321)
    (expected,) = posteriors(RunEngine(fresh_run(whisper)), sound)
    (found,) = posteriors(OnnxEngine(exported), sound)
    np.testing.assert_allclose(found.log_posteriors, expected.log_posteriors, atol=1e-4)
    # That the sound matters.
    (other,) = posteriors(OnnxEngine(exported), noise(24_321, seed=5))
    assert np.abs(other.log_posteriors - found.log_posteriors).max() > 1e-3


def test_it_runs_without_torch_and_transformers(exported: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    program = (
        "import sys; from phoneme_moe.cli import main\n"
        f"sys.argv = ['phoneme-moe', 'transcribe', {str(exported)!r}, {str(tmp_path / 'a.wav')!r}]"
        "\nmain()\n"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "a.wav"))


def test_a_missing_or_wrong_encoder_is_named(copy: Path) -> None:
    encoder = encoder_path(copy)
    kept = encoder.rename(encoder.with_suffix(".kept"))
    with pytest.raises(InputError, match=r"copy\.encoder\.onnx: no such file; .* with copy\.onnx$"):
        OnnxEngine(copy)
    encoder.mkdir()
    with pytest.raises(InputError, match=r"copy\.encoder\.onnx: found a folder"):
        OnnxEngine(copy)
    encoder.rmdir()
    encoder.write_bytes(kept.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"copy\.encoder\.onnx: SHA-256: found .*, expected "):
        OnnxEngine(copy)
    with pytest.raises(InputError, match=r"copy\.encoder\.kept: found the encoder of a model"):
        OnnxEngine(kept)


def pin(model: Path, **changes: object) -> None:
    """Changes what the metadata of a model say about its encoder, whatever it is."""
    content = onnx.load(model)
    for entry in content.metadata_props:
        if entry.key == "card":
            card = json.loads(entry.value)
            sha256 = hash_file(encoder_path(model))
            card["features"] = {**card["features"], "sha256": sha256, **changes}
            entry.value = json.dumps(card)
    onnx.save(content, model)


def change_output(change: Callable[[Any, Any], None]) -> Callable[[Path], None]:
    """Computes something else from the hidden states."""

    def changed(file: Path) -> None:
        model = onnx.load(file)
        for node in model.graph.node:
            node.output[:] = ["before" if n == "hidden_states" else n for n in node.output]
        change(model.graph, onnx.helper.make_node)
        onnx.save(model, file)

    return changed


def infinite(graph: Any, node: Any) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    graph.node.append(node("Div", ["before", "nothing"], ["hidden_states"]))


def twice(graph: Any, node: Any) -> None:
    graph.node.append(node("Concat", ["before", "before"], ["hidden_states"], axis=0))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(b"no model"), "not a valid ONNX model"),
        (change_output(infinite), "hidden_states: found values that are not finite"),
        (change_output(twice), r"hidden_states: found float32 of shape \(20, 72\), expected "),
    ],
    ids=["no model", "infinite", "shape"],
)
def test_an_encoder_of_a_stranger_is_refused(
    copy: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(encoder_path(copy))
    pin(copy)
    with pytest.raises(InputError, match=rf"copy\.encoder\.onnx: {words}"):
        posteriors(OnnxEngine(copy), noise(3_200))


def test_an_encoder_with_other_features_is_refused(
    copy: Path, whisper: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    export_onnx(fresh_run(whisper, "last"), other)
    encoder_path(other).replace(encoder_path(copy))
    pin(copy)
    with pytest.raises(InputError, match="hidden_states: found 24 columns, expected 72 as in card"):
        OnnxEngine(copy)
    pin(copy, num_features=HIDDEN)
    with pytest.raises(InputError, match=r"copy\.onnx: features: found 72 columns, expected 24"):
        OnnxEngine(copy)


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    whisper: Path, tmp_path: Path
) -> None:
    bert = write_encoder(tmp_path / "bert", "wav2vec2-bert")
    for run, words in (
        (fresh_run(bert), r"features\.model: found a wav2vec2-bert encoder.*expected one of"),
        (
            fresh_run(
                whisper,
                "mix",
                "model.adapters={num_experts: 2, rank: 2}",
                "model.encoder.sparse=null",
            ),
            r"model\.adapters: found an encoder whose weights the gate chooses",
        ),
    ):
        with pytest.raises(InputError, match=words):
            export_onnx(run, tmp_path / "out" / "model.onnx")
        assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_no_onnx_file_holds_are_refused(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phoneme_moe.transcription.network_to_onnx.MAX_BYTES", 100_000)
    with pytest.raises(InputError, match=r"features\.model: found 0\.\d GB of weights"):
        export_onnx(fresh_run(whisper), tmp_path / "model.onnx")


def test_eight_bits_change_posteriors_little(whisper: Path, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    export_onnx(fresh_run(whisper), path, int8=True)
    for file, whole_file in ((path, exported), (encoder_path(path), encoder_path(exported))):
        operators = {node.op_type for node in onnx.load(file).graph.node}
        assert operators - {node.op_type for node in onnx.load(whole_file).graph.node} == {
            "DynamicQuantizeLinear",
            "MatMulInteger",
        }
    (whole,), (small,) = (posteriors(OnnxEngine(p), noise(16_000)) for p in (exported, path))
    shares = np.exp(whole.log_posteriors) - np.exp(small.log_posteriors)
    assert 0 < np.abs(shares).mean() < 0.05


def test_metadata_hold_to_their_schema(exported: Path) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    metadata = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    card = json.loads(metadata["card"])
    features = card["features"]
    assert features["num_features"] == HIDDEN * (LAYERS + 1)
    changes: list[dict[str, Any]] = [
        {},
        {"kind": "log_mel"},
        {"kind": 1},
        {"sha256": "x"},
        {"sha256": "0" * 64},
        {"sha256": "A" * 64},
        {"num_features": 0},
        {"num_features": True},
        {"num_features": 1},
        {"more": 1},
    ]
    taken = []
    for change in changes:
        changed = card | {"features": features | change}
        try:
            OnnxSpec.parse_json(json.dumps(changed), "x").model_spec("x")
        except InputError:
            taken.append(False)
        else:
            taken.append(True)
        assert schema.is_valid(metadata | {"card": changed}) == taken[-1], change
    assert taken == [True, False, False, False, True, False, False, False, True, False]
