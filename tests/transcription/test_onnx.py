"""Runs as ONNX files: the same answers, without torch, and nothing that was tampered with."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import onnx
import pytest
import soundfile
import tiny
import torch

from phoneme_moe.errors import InputError
from phoneme_moe.model.recognizer import Recognizer
from phoneme_moe.pipeline import Trained
from phoneme_moe.recipe import load_recipe, shipped_recipes
from phoneme_moe.run_folder import LoadedRun, load_run
from phoneme_moe.transcription.export import export_onnx
from phoneme_moe.transcription.onnx_engine import OnnxEngine
from phoneme_moe.transcription.onnx_metadata import OnnxSpec
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import Options, transcribe_file

if TYPE_CHECKING:
    from conftest import Outcome

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture(scope="module")
def exported(recognized: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "run.onnx"
    export_onnx(load_run(recognized.run.folder), path)
    return path


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    samples, _ = tiny.speak(["a", "s", "i", "m", "a"], "ann", np.random.default_rng(99))
    path = tmp_path / "ann.wav"
    soundfile.write(path, samples, tiny.RATE)
    return path


def test_an_exported_run_transcribes_as_the_run_does(
    recognized: Trained, exported: Path, spoken: Path
) -> None:
    for options in (Options(), Options(beam=8, nbest=3)):
        expected = transcribe_file(RunEngine(recognized.run), spoken, options)
        found = transcribe_file(OnnxEngine(exported), spoken, options)
        assert found.phonemes == expected.phonemes
        assert found.silences == expected.silences
        for segment, reference_segment in zip(found.segments, expected.segments, strict=True):
            assert (segment.start, segment.end) == pytest.approx(
                (reference_segment.start, reference_segment.end)
            )
            assert segment.confidence == pytest.approx(reference_segment.confidence, abs=1e-4)
            assert segment.experts == pytest.approx(reference_segment.experts, abs=1e-4)
        for mine, theirs in zip(found.alternatives, expected.alternatives, strict=True):
            assert mine.phonemes == theirs.phonemes


def test_a_token_classifier_is_exported_too(classified: Trained, tmp_path: Path) -> None:
    path = tmp_path / "tokens.onnx"
    export_onnx(load_run(classified.run.folder), path)
    sound = tiny.sound_of("a", "ann", 0.3, np.random.default_rng(3))
    soundfile.write(tmp_path / "t.wav", sound, tiny.RATE)
    expected = transcribe_file(RunEngine(classified.run), tmp_path / "t.wav")
    found = transcribe_file(OnnxEngine(path), tmp_path / "t.wav")
    assert found.phonemes == expected.phonemes
    assert found.routing == pytest.approx(expected.routing, abs=1e-5)


ENCODERS = [
    name
    for name in shipped_recipes()
    if (recipe := load_recipe(name)).model.encoder is not None
    and recipe.features.kind == "log_mel"  # the others are in test_onnx_encoder
    and name not in {"upcycled", "collapse_cured"}
]


def fresh_run(name: str, folder: Path) -> LoadedRun:
    """A run of a recipe with narrow layers and fresh weights."""
    changes = ["model.encoder.width=32", "model.encoder.bottleneck=16"]
    changes += ["model.encoder.hidden=32", "model.encoder.dilations=[1, 2]"]
    recipe = load_recipe(name, changes)
    torch.manual_seed(0)
    symbols = tuple(f"P{number}" for number in range(7))
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, symbols, ("encoder",))
    return LoadedRun(folder, recipe, recognizer.eval())


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_every_router_is_exported_or_refused(name: str, tmp_path: Path) -> None:
    run, path = fresh_run(name, tmp_path), tmp_path / f"{name}.onnx"
    if name == "expert_choice":
        with pytest.raises(InputError, match="expert_choice, which ONNX cannot express"):
            export_onnx(run, path)
        assert not path.exists()
        return
    export_onnx(run, path)
    engine, reference = OnnxEngine(path), RunEngine(run)
    random = np.random.default_rng(1)
    for batch, frames in ((1, 57), (3, 160)):  # other sizes than it was traced with
        features = random.standard_normal((batch, frames, 80)).astype(np.float32)
        lengths = np.array([frames, frames // 2, frames - 3][:batch])
        for row, length in enumerate(lengths):
            features[row, length:] = 0
        found, expected = engine.infer(features, lengths), reference.infer(features, lengths)
        for row, length in enumerate((-(-lengths // engine.spec.stack)).tolist()):
            for key in ("log_posteriors", "weights"):
                mine, theirs = getattr(found, key)[row], getattr(expected, key)[row]
                np.testing.assert_allclose(mine[:length], theirs[:length], atol=2e-5)


def test_eight_bits_change_posteriors_little(
    recognized: Trained, exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    export_onnx(load_run(recognized.run.folder), path, int8=True)
    assert path.stat().st_size < exported.stat().st_size
    features = np.random.default_rng(0).standard_normal((1, 90, 16)).astype(np.float32)
    whole, small = (OnnxEngine(p).infer(features, np.array([90])) for p in (exported, path))
    shares = np.exp(whole.log_posteriors) - np.exp(small.log_posteriors)
    assert np.abs(shares).mean() < 0.05


def test_it_runs_without_torch(exported: Path, spoken: Path) -> None:
    program = (
        "import sys; from phoneme_moe.cli import main\n"
        f"sys.argv = ['phoneme-moe', 'transcribe', {str(exported)!r}, {str(spoken)!r}]\n"
        "main()\n"
        "assert not {'torch', 'lightning', 'librosa'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{spoken}\t")


def test_the_command_writes_a_file_that_transcribe_takes(
    recognized: Trained, spoken: Path, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    run, path = recognized.run.folder, tmp_path / "m.onnx"
    assert phoneme_moe("export", run, "--onnx", path).out == f"{path}\n"
    mine = phoneme_moe("transcribe", path, spoken)
    assert (mine.code, mine.out) == (0, phoneme_moe("transcribe", run, spoken).out)
    wrong = phoneme_moe("export", run, "--onnx", tmp_path / "m.bin")
    assert wrong.code == 1
    assert "ends in .onnx" in wrong.err
    refused = phoneme_moe("transcribe", path, spoken, "--only-expert", "ann")
    assert refused.code == 1
    assert "run folder" in refused.err


def schema_of_metadata() -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / "onnx.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def metadata_of(path: Path) -> dict[str, Any]:
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return metadata | {"card": json.loads(metadata["card"])}


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_metadata_hold_to_their_schema(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = tmp_path / "run.onnx"
    export_onnx(load_run(request.getfixturevalue(fixture).run.folder), path)
    schema_of_metadata().validate(metadata_of(path))


PROBES: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.4, 0.5, 0.6, 1, 1.5, 2, 3, 8, 9, 100, 100.5, 200, 200.5, 256, 257),
    *(3999, 4000, 9999, 9999.5, 10_000, 96_000, 96_001, "x", "hann", "hamming", "range"),
    *("utterance", [], ["a"], ["a", "b"], ["a", "a"], [1], {}),
)


def test_the_schema_allows_what_a_reader_takes(exported: Path) -> None:
    schema, metadata = schema_of_metadata(), metadata_of(exported)
    card = metadata["card"]
    # A version is compared, and True is 1 to Python.
    changes = [card | {key: value} for key in card if key != "version" for value in PROBES]
    changes += [
        card | {"features": card["features"] | {key: value}}
        for key in card["features"]
        for value in PROBES
    ]
    changes += [{k: v for k, v in card.items() if k != key} for key in card]
    taken = 0
    for changed_card in changes:
        try:
            OnnxSpec.parse_json(json.dumps(changed_card), "x").model_spec("x")
        except InputError:
            reader = False
        else:
            reader = True
        taken += reader
        assert schema.is_valid(metadata | {"card": changed_card}) == reader, changed_card
    assert 0 < taken < len(changes)


def changed(path: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same file with another card."""
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "card":
            card = json.loads(entry.value)
            change(card)
            entry.value = json.dumps(card)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 99),
        ("phonemes", ["a"]),
        ("phonemes", "abc"),
        ("phonemes", ["a", "a", "i", "m"]),
        ("experts", ["ann"]),
        ("experts", [1, 2, 3]),
        ("stack", 0),
        ("stack", True),
        ("context", -1),
        ("context", 10**9),
        ("tokens", "no"),
        ("features", {}),
        ("features", {"sample_rate": -1}),
        ("decoding", None),
        ("decoding", {"version": 1, "temperature": "x"}),
        ("embedding_size", 3),
    ],
)
def test_a_card_that_does_not_hold_is_refused(
    exported: Path, tmp_path: Path, key: str, value: object
) -> None:
    path = changed(exported, tmp_path / "x.onnx", lambda card: card.update({key: value}))
    with pytest.raises(InputError, match=r"x\.onnx: "):
        OnnxEngine(path)


def test_what_is_no_model_is_refused(exported: Path, tmp_path: Path, spoken: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(exported.read_bytes()[:5000])
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    foreign = tmp_path / "foreign.onnx"
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    for path in (cut, text, foreign, tmp_path / "missing.onnx"):
        with pytest.raises(InputError, match=path.name):
            OnnxEngine(path)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "decoding.json", "x.onnx"])
def test_a_pickle_is_not_opened(
    name: str,
    recognized: Trained,
    tmp_path: Path,
    spoken: Path,
    phoneme_moe: Callable[..., Outcome],
) -> None:
    run, sprung = tmp_path / "run", tmp_path / "sprung"
    shutil.copytree(recognized.run.folder, run)
    (run / name).write_bytes(pickle.dumps(Trap(sprung)))
    torch.save(Trap(sprung), run / "checkpoints" / "evil.ckpt")
    outcome = phoneme_moe("transcribe", run / name if name.endswith("x") else run, spoken)
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert name in outcome.err
    assert not sprung.exists()
    # That the trap works.
    pickle.loads((run / name).read_bytes())
    assert sprung.exists()
