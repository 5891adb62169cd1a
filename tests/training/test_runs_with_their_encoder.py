"""Exported runs that hold their pretrained encoder, and Whisper's without transformers."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from encoders import write_encoder
from safetensors.torch import load_file
from waiting import run as run_command

from phoneme_moe import load
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.export_run import export_run
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.features.encoder_folder import open_encoder_folder
from phoneme_moe.features.encoder_weights import load_encoder, save_encoder
from phoneme_moe.features.pretrained import HiddenStates
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.run_folder import LoadedRun, load_run, read_recipe, save_model, save_recipe
from phoneme_moe.training.adapt import adapt
from phoneme_moe.training.grow import prepare_grown

if TYPE_CHECKING:
    from phoneme_moe.files.compact_weights import WeightBits

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
EXPERTS = tiny.RECIPES / "tiny_recognize.yaml"


@pytest.fixture(scope="module", params=["whisper", "wavlm"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_encoder(tmp_path_factory.mktemp("encoders") / request.param, request.param)
    (folder / "LICENSE").write_text("free\n")
    return folder


@pytest.fixture(scope="module")
def trained(
    encoder: Path, tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    section = {"kind": "pretrained", "model": str(encoder), "layers": "mix", "stack": 2}
    changes = [f"features={json.dumps(section)}", "training.stages.joint.epochs=2"]
    changes.append("training.timing=null")
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    return train(SPARSE, folder, changes=changes, device="cpu")


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_an_encoder_in_fewer_bits_has_about_the_same_states(
    encoder: Path, tmp_path: Path, bits: WeightBits
) -> None:
    original = open_encoder_folder(str(encoder))
    sha256 = save_encoder(original, tmp_path / "encoder", bits)
    copy = open_encoder_folder(str(tmp_path / "encoder"), sha256)
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    expected, states = HiddenStates(original)(waveform), HiddenStates(copy)(waveform)
    error = float((states - expected).square().mean() / expected.square().mean())
    assert error < {8: 1e-3, 16: 1e-6, 32: 1e-12}[bits]
    assert (error > 0) == (bits < 32)
    assert copy.source_sha256 == original.sha256
    assert (tmp_path / "encoder" / "LICENSE").read_text() == "free\n"
    size = (tmp_path / "encoder" / "model.safetensors").stat().st_size
    weights = sum(tensor.numel() for tensor in load_encoder(original).state_dict().values())
    assert size < weights * {8: 2, 16: 3, 32: 5}[bits]


def test_a_copy_of_a_copy_names_the_first(encoder: Path, tmp_path: Path) -> None:
    original = open_encoder_folder(str(encoder))
    save_encoder(original, tmp_path / "one", 8)
    save_encoder(open_encoder_folder(str(tmp_path / "one")), tmp_path / "two", 8)
    again = open_encoder_folder(str(tmp_path / "two"))
    assert again.source_sha256 == original.sha256
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    # Integers and scales are a fixed point of quantisation, up to the rounding of the scale.
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_an_exported_run_needs_neither_its_encoder_nor_its_place(
    trained: Trained, tones: PreparedCorpus, encoder: Path, tmp_path: Path
) -> None:
    exported = export_run(trained.run, tmp_path / "exported", bits=8)
    sound = tones.cuts("test")[0].recording.sources[0].source
    # As good as deleted: any other hash is refused.
    moved = tmp_path / "elsewhere"
    shutil.move(exported.folder, moved)
    recipe = (moved / "recipe.yaml").read_text()
    assert f"model: {encoder.name}\n" in recipe
    assert str(encoder.parent) not in recipe + (moved / "model.json").read_text()
    loaded = load(moved)
    reference = trained.run.transcribe(sound)
    transcript = loaded.transcribe(sound)
    assert [s.phoneme for s in transcript.segments] == [s.phoneme for s in reference.segments]
    assert "encoder" in (moved / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_an_exported_run_without_its_encoder_says_so(trained: Trained, tmp_path: Path) -> None:
    folder = export_run(trained.run, tmp_path / "exported", bits=16).folder
    weights = folder / "encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=r"model.safetensors: SHA-256: found \w+, expected \w+"):
        load_run(folder).recognizer.front_end.encode(np.zeros(8000, np.float32))
    shutil.rmtree(folder / "encoder")
    with pytest.raises(InputError, match=r"no such folder; its new place can be RUN/encoder"):
        load_run(folder).recognizer.front_end.encode(np.zeros(8000, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["whisper"], indirect=True)
def test_an_exported_run_grows_and_grows_on(trained: Trained, tmp_path: Path) -> None:
    run = export_run(trained.run, tmp_path / "exported", bits=8)
    # As written by versions that stored less about the encoder.
    recipe = read_recipe(run.folder)
    sizes = dict.fromkeys(("feed_forward", "num_inputs", "family"))
    older = recipe.model_copy(update={"features": recipe.features.model_copy(update=sizes)})
    save_recipe(run.folder, older)
    save_model(run.folder, older, run.recognizer, 8)
    grown = tmp_path / "grown"
    for _ in range(2):
        prepared = prepare_grown(load_run(run.folder), grown, 1, epochs=1)
        result = train(prepared, grown, resume=True, device="cpu")
    assert result.run.recipe.model.encoder is not None
    assert result.run.recipe.model.encoder.sparse is not None
    assert trained.run.recipe.model.encoder is not None
    assert trained.run.recipe.model.encoder.sparse is not None
    before = trained.run.recipe.model.encoder.sparse.num_experts
    assert result.run.recipe.model.encoder.sparse.num_experts == before + 1


def transcribe_after_a_move(run: LoadedRun, origin: Path, sound: str, tmp_path: Path) -> None:
    """Transcribes with a run that was made from another one, when both have moved."""
    assert str(tmp_path) not in (run.folder / "recipe.yaml").read_text()
    assert str(tmp_path) not in (run.folder / "model.json").read_text()
    expected = load(run.folder).transcribe(sound)
    elsewhere = shutil.move(run.folder, tmp_path / "elsewhere")
    shutil.rmtree(origin)
    moved = load(elsewhere)
    assert str(moved.transcribe(sound)) == str(expected)
    card = model_card(moved).encoder
    assert card is not None
    assert card.model == "whisper"


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["whisper"], indirect=True)
def test_a_run_grown_from_one_with_its_encoder_has_it_too(
    trained: Trained, tones: PreparedCorpus, tmp_path: Path
) -> None:
    run = export_run(trained.run, tmp_path / "exported", bits=8)
    sound = tones.cuts("test")[0].recording.sources[0].source
    prepared = prepare_grown(run, tmp_path / "begun", 1, epochs=1)
    # Training goes on wherever the folder is.
    grown = Path(shutil.move(tmp_path / "begun", tmp_path / "grown"))
    result = train(prepared, grown, resume=True, device="cpu")
    transcribe_after_a_move(result.run, run.folder, sound, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["whisper"], indirect=True)
def test_a_run_adapted_from_one_with_its_encoder_has_it_too(
    encoder: Path, tones: PreparedCorpus, tmp_path: Path
) -> None:
    section = {"kind": "pretrained", "model": str(encoder), "layers": "mix", "stack": 2}
    changes = [f"features={json.dumps(section)}", "training.timing=null"]
    changes += [f"training.stages.{name}.epochs=1" for name in ("experts", "gate", "joint")]
    experts = train(EXPERTS, tmp_path / "experts", changes=changes, device="cpu").run
    run = export_run(experts, tmp_path / "exported", bits=16)
    recordings = tmp_path / "dan"
    recordings.mkdir()
    cuts = [cut for cut in tones.cuts("test") if cut.supervisions[0].speaker == "dan"][:6]
    for number, cut in enumerate(cuts):
        shutil.copy(cut.recording.sources[0].source, recordings / f"{number}.wav")
        text = " ".join(cut.supervisions[0].custom["phonemes"])
        (recordings / f"{number}.txt").write_text(text)
    adaptation = adapt(run, "dan_too", recordings, tmp_path / "adapted", "gate")
    sound = str(recordings / "0.wav")
    transcribe_after_a_move(adaptation.run, run.folder, sound, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["whisper"], indirect=True)
def test_whisper_needs_no_transformers(
    tones: PreparedCorpus, trained: Trained, tmp_path: Path
) -> None:
    folder = export_run(trained.run, tmp_path / "exported", bits=8).folder
    sound = tones.cuts("test")[0].recording.sources[0].source
    program = (
        "import sys; sys.modules['transformers'] = None; sys.modules['librosa'] = None\n"
        "from phoneme_moe.cli import main\n"
        f"sys.argv = ['phoneme-moe', 'transcribe', {str(folder)!r}, {sound!r}]\n"
        "main()\n"
    )
    done = run_command([sys.executable, "-c", program])
    assert done.returncode == 0, done.stderr
    expected = " ".join(s.phoneme for s in trained.run.transcribe(sound).segments)
    assert expected in done.stdout
