"""Runs on the hidden states of a pretrained encoder, and runs that learn from one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from encoders import HIDDEN, LAYERS, write_encoder

import phoneme_moe.corpora.cut_audio as cut_audio
import phoneme_moe.data.examples as examples_module
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.data.batches import build_augment, collate
from phoneme_moe.data.examples import load_examples
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.export_run import export_run
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.features.pretrained import PretrainedFrontEnd
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.mixture.routing import fixed_routing
from phoneme_moe.model.front_end import build_teacher, pin_encoders
from phoneme_moe.model.layer_mix import LayerMix
from phoneme_moe.model.recognition import Recognition
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import PretrainedFeatures, load_recipe
from phoneme_moe.run import load
from phoneme_moe.run_folder import load_run
from phoneme_moe.training.module import StageModule
from phoneme_moe.training.stages import build_recognizer
from phoneme_moe.training.teacher import HiddenStateTeacher, PosteriorTeacher
from phoneme_moe.transcription import bench
from phoneme_moe.transcription.recording import EncodingFrontEnd, read_recording, record
from phoneme_moe.transcription.run_engine import RunEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome
    from lhotse.cut import Cut

    from phoneme_moe.audio.waveform import Waveform

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
EXPERTS = tiny.RECIPES / "tiny_recognize.yaml"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoders") / "wavlm", "wavlm")


def on(encoder: Path, layers: str = "mix") -> list[str]:
    section = {"kind": "pretrained", "model": str(encoder), "layers": layers, "stack": 2}
    return [f"features={json.dumps(section)}"]


@pytest.fixture(scope="module")
def pretrained_run(
    tones: PreparedCorpus, encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    changes = [*on(encoder), "training.stages.joint.epochs=2"]
    return train(SPARSE, folder, changes=changes, device="cpu")


@pytest.mark.slow
def test_a_run_pins_its_encoder_and_holds_only_what_was_trained(
    pretrained_run: Trained, encoder: Path
) -> None:
    document = json.loads((pretrained_run.run.folder / "model.json").read_text())
    features = document["features"]
    assert (features["hidden"], features["num_layers"]) == (HIDDEN, LAYERS)
    assert len(features["sha256"]) == 64
    names = set(pretrained_run.run.recognizer.state_dict())
    assert "layer_mix.scores" in names
    assert not any("front_end" in name for name in names)
    assert pretrained_run.run.recognizer.layer_mix is not None
    assert bool(pretrained_run.run.recognizer.layer_mix.scores.any())


@pytest.mark.slow
def test_a_file_is_transcribed_as_it_was_evaluated(
    pretrained_run: Trained, tones: PreparedCorpus
) -> None:
    run = pretrained_run.run
    recipe = run.recipe
    examples = load_examples(recipe, tones, "test", run.recognizer)[:3]
    cuts = {cut.id: cut for cut in tones.cuts("test")}
    for example in examples:
        transcript = run.transcribe(cuts[example.utterance].recording.sources[0].source)
        batch = collate([example], run.recognizer, {})
        with torch.inference_mode():
            output = run.recognizer(batch.features, batch.mask).log_posteriors[0].argmax(dim=-1)
        starts = np.flatnonzero(np.diff(output.numpy(), prepend=-1))
        expected = run.recognizer.phonemes.decode(output[starts].tolist())
        assert [segment.phoneme for segment in transcript.segments] == expected
        assert all(s.end <= transcript.duration + 1e-6 for s in transcript.segments)


@pytest.mark.slow
def test_stored_features_are_computed_once(
    pretrained_run: Trained, tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: PretrainedFrontEnd, waveform: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(PretrainedFrontEnd, "encode", refuse)
    run = pretrained_run.run
    stored = load_examples(run.recipe, tones, "dev", run.recognizer)
    assert all(example.features.dtype == torch.float16 for example in stored)
    last = run.recipe.features.model_copy(update={"layers": "last"})
    recipe = run.recipe.model_copy(update={"features": last})
    # A single layer is a part of the mix.
    parts = load_examples(recipe, tones, "dev", build_recognizer(recipe, tones))
    for mix, one in zip(stored, parts, strict=True):
        assert torch.equal(mix.features[:, -HIDDEN:], one.features)


@pytest.mark.slow
def test_recordings_with_stored_features_are_not_decoded(
    pretrained_run: Trained, tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(cut: Cut, sample_rate: int) -> Waveform:
        decoded.append(cut.id)
        return load_cut(cut, sample_rate)

    monkeypatch.setattr(examples_module, "load_cut", counted)
    monkeypatch.setattr(cut_audio, "SETTLED_SECONDS", -1.0)
    run = pretrained_run.run
    speeds = [0.9]
    first = load_examples(run.recipe, tones, "dev", run.recognizer, sound_speeds=speeds)
    assert len(decoded) == len(first)
    again = load_examples(run.recipe, tones, "dev", run.recognizer, sound_speeds=speeds)
    assert len(decoded) == len(first)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.at_speeds[0], other.at_speeds[0])
    Path(tones.cuts("dev")[0].recording.sources[0].source).touch()
    load_examples(run.recipe, tones, "dev", run.recognizer, sound_speeds=speeds)
    assert len(decoded) == len(first) + 1


@pytest.mark.slow
def test_another_encoder_and_a_missing_one_are_refused(
    pretrained_run: Trained, encoder: Path, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    sound = np.zeros(16_000, np.float32)
    moved = tmp_path / "moved"
    encoder.rename(moved)
    try:
        with pytest.raises(InputError, match=r"features\.model: .*wavlm: no such folder"):
            load(pretrained_run.run.folder).transcribe(sound, sample_rate=16_000)
        write_encoder(encoder, "wavlm", seed=1)
        with pytest.raises(InputError, match=r"SHA-256: found .*trained with another encoder"):
            load(pretrained_run.run.folder).transcribe(sound, sample_rate=16_000)
    finally:
        shutil.rmtree(encoder, ignore_errors=True)
        moved.rename(encoder)


@pytest.mark.slow
def test_report_evaluate_and_align_work_on_top(
    pretrained_run: Trained,
    tones: PreparedCorpus,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    folder = str(pretrained_run.run.folder)
    cut = tones.cuts("test")[0]
    file = cut.recording.sources[0].source
    phonemes = " ".join(cut.supervisions[0].custom["phonemes"])
    for arguments in (
        ["evaluate", folder],
        ["report", folder, "--out", str(tmp_path / "report")],
        ["align", folder, file, "--phonemes", phonemes],
        ["model", folder],
    ):
        result = phoneme_moe(*arguments)
        assert result.code == 0, result.err


@pytest.mark.slow
def test_an_exported_run_has_its_encoder_and_nothing_of_this_machine(
    pretrained_run: Trained, encoder: Path, tones: PreparedCorpus, tmp_path: Path
) -> None:
    sound = tones.cuts("test")[0].recording.sources[0].source
    expected = pretrained_run.run.transcribe(sound).to_dict()
    export_run(pretrained_run.run, tmp_path / "exported", bits=32)
    exported = (tmp_path / "exported").rename(tmp_path / "moved")
    for path in exported.rglob("*"):
        if path.is_file():
            assert str(encoder.parent).encode() not in path.read_bytes()
    card = model_card(load_run(exported))
    assert card.encoder is not None
    assert card.encoder.model == encoder.name
    moved = encoder.rename(tmp_path / "elsewhere")
    try:
        found = load(exported).transcribe(sound).to_dict()
        assert {**found, "run": None} == {**expected, "run": None}
        again = export_run(load_run(exported), tmp_path / "again", bits=32)
        assert (again.folder / "encoder" / "model.safetensors").is_file()
    finally:
        moved.rename(encoder)


@pytest.mark.slow
def test_a_moved_encoder_is_found_inside_the_run(
    pretrained_run: Trained, encoder: Path, tmp_path: Path
) -> None:
    sound = np.zeros(16_000, np.float32)
    run = shutil.copytree(pretrained_run.run.folder, tmp_path / "run")
    moved = encoder.rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(InputError, match=r"no such folder; its new place can be RUN/encoder"):
            load(run).transcribe(sound, sample_rate=16_000)
        (run / "encoder").symlink_to(moved)
        load(run).transcribe(sound, sample_rate=16_000)
    finally:
        moved.rename(encoder)


def test_a_folder_is_found_from_anywhere(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(encoder.parent)
    front = pin_encoders(load_recipe(SPARSE, on(Path(encoder.name)))).features
    teacher = pin_encoders(load_recipe(SPARSE, taught(Path(encoder.name)))).training.teacher
    assert isinstance(front, PretrainedFeatures)
    assert teacher is not None
    assert front.model == teacher.model == str(encoder)


@pytest.mark.slow
def test_the_encoder_counts_as_features_and_loading_it_not_at_all(
    pretrained_run: Trained, tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    encode = PretrainedFrontEnd.encode

    def slow(self: PretrainedFrontEnd, waveform: np.ndarray) -> torch.Tensor:
        clock[0] += 1.0 if clock[0] else 100.0
        return encode(self, waveform)

    monkeypatch.setattr(PretrainedFrontEnd, "encode", slow)
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    files = [Path(cut.recording.sources[0].source) for cut in tones.cuts("test")][:3]
    speed = bench.bench(RunEngine(pretrained_run.run), files, cold=False)
    assert speed.stages == {"read audio": 0.0, "features": 3.0, "network": 0.0, "decode": 0.0}
    assert speed.all_seconds == 3.0


@pytest.mark.slow
def test_commands_take_its_onnx_files(
    pretrained_run: Trained,
    tones: PreparedCorpus,
    phoneme_moe: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    folder, model = str(pretrained_run.run.folder), str(tmp_path / "model.onnx")
    result = phoneme_moe("export", folder, "--onnx", model)
    assert result.out.splitlines() == [model, str(tmp_path / "model.encoder.onnx")]
    cuts = tones.cuts("test")
    files = [str(cut.recording.sources[0].source) for cut in cuts]
    phonemes = " ".join(cuts[0].supervisions[0].custom["phonemes"])
    for command in (
        ["transcribe", *files],
        ["transcribe", "--beam", "4", *files],
        ["align", files[0], "--phonemes", phonemes],
    ):
        name, *arguments = command
        expected = phoneme_moe(name, folder, *arguments)
        found = phoneme_moe(name, model, *arguments)
        assert (found.code, found.out) == (0, expected.out)
    assert phoneme_moe("bench", model, files[0]).code == 0
    streamed = phoneme_moe("listen", model, "-")
    assert streamed.code == 1
    assert "features.kind: found pretrained" in streamed.err


@pytest.mark.slow
def test_speaker_experts_work_on_top(tones: PreparedCorpus, encoder: Path, tmp_path: Path) -> None:
    trained = train(EXPERTS, tmp_path / "run", changes=on(encoder), device="cpu")
    assert trained.run.recognizer.gate is not None
    assert set(trained.run.recognizer.expert_names) <= set(tones.speakers)


def test_a_long_recording_is_encoded_from_the_spooled_samples(tmp_path: Path) -> None:
    import soundfile

    sound = 0.1 * np.random.default_rng(0).standard_normal(16_000 * 3).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    calls = []

    def encode(waveform: np.ndarray) -> np.ndarray:
        calls.append(waveform)
        return np.zeros((len(waveform) // 320, 2), np.float32)

    front_end = EncodingFrontEnd(encode, 20.0)
    whole = record(sound, Path("a"), front_end)
    spooled = read_recording(tmp_path / "a.wav", front_end, long_seconds=1.0)
    for recording in (whole, spooled):
        assert recording.num_frames == 150
        assert len(recording.features(10, 20)) == 10
        assert len(recording.features()) == 150
    np.testing.assert_array_equal(calls[0], sound[10 * 320 : 20 * 320])
    np.testing.assert_allclose(calls[2], calls[0], atol=1e-6)
    np.testing.assert_allclose(calls[3], sound, atol=1e-6)


@pytest.mark.parametrize("layers", ["mix", "last"])
def test_features_as_they_lie_on_disk_are_taken(
    encoder: Path, tones: PreparedCorpus, layers: str
) -> None:
    recipe = pin_encoders(load_recipe(EXPERTS, on(encoder, layers)))
    recognizer = build_recognizer(recipe, tones).eval()
    features = torch.randn(1, 6, recognizer.front_end.num_features).half()
    mask = torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        stored, computed = recognizer(features, mask), recognizer(features.float(), mask)
    assert torch.equal(stored.log_posteriors, computed.log_posteriors)


def test_a_mix_is_the_weighted_sum_of_normalised_states() -> None:
    mix = LayerMix(3)
    with torch.no_grad():
        mix.scores.copy_(torch.tensor([0.0, 1.0, -1.0]))
    states = torch.randn(2, 5, 3, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    mixed = mix(states.flatten(2), mask)
    normed = (states - states.mean(-1, keepdim=True)) / states.std(-1, correction=0, keepdim=True)
    expected = (normed * mix.scores.softmax(0)[:, None]).sum(dim=2)
    torch.testing.assert_close(mixed[0], expected[0], rtol=1e-3, atol=1e-3)
    assert not mixed[1, 3:].any()


def taught(encoder: Path, weight: float = 1.0) -> list[str]:
    teacher = {"model": str(encoder), "weight": weight}
    return [
        f"training.teacher={json.dumps(teacher)}",
        "features={sample_rate: 16000, n_mels: 16, stack: 4}",
    ]


@pytest.mark.slow
def test_a_model_learns_to_predict_its_teacher_and_keeps_nothing_of_it(
    tones: PreparedCorpus, encoder: Path, tmp_path: Path
) -> None:
    trained = train(SPARSE, tmp_path / "run", changes=taught(encoder), device="cpu")
    plain = train(SPARSE, tmp_path / "plain", changes=taught(encoder)[1:], device="cpu")
    assert set(trained.run.recognizer.state_dict()) == set(plain.run.recognizer.state_dict())
    losses = [float(row["loss"]) for row in read_rows(tmp_path / "run" / "metrics.csv")]
    assert losses[-1] < losses[0]
    recipe = json.loads((tmp_path / "run" / "model.json").read_text())
    assert "teacher" not in recipe
    encoder_folder = Path(str(encoder))
    assert trained.run.recipe.training.teacher is not None
    assert trained.run.recipe.training.teacher.model == str(encoder_folder)


def test_targets_follow_the_change_of_speed(tones: PreparedCorpus, encoder: Path) -> None:
    recipe = pin_encoders(load_recipe(SPARSE, taught(encoder)))
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer, teacher=recipe.training.teacher)
    batch = collate(examples[:5], recognizer, {})
    assert batch.teacher is not None
    frames = -(-batch.mask.sum(dim=1) // 4)
    assert batch.teacher.shape == (5, int(frames.max()), HIDDEN)
    # The mean of the two frames of 20 ms in a frame of posteriors.
    states = examples[0].teacher
    assert states is not None
    torch.testing.assert_close(batch.teacher[0, 1], states[2:4].float().mean(dim=0))
    augment = build_augment(recipe, recipe.training.stages[0])
    for _ in range(5):
        features, mask, targets = augment.with_targets(batch.features, batch.mask, batch.teacher)
        assert targets.shape[1] == -(-mask.shape[1] // 4)
        assert bool(((targets != 0).any(dim=2).sum(dim=1) == -(-mask.sum(dim=1) // 4)).all())
        assert features.shape[:2] == mask.shape


def test_the_error_of_a_perfect_and_of_a_constant_prediction(
    tones: PreparedCorpus, encoder: Path
) -> None:
    recipe = pin_encoders(load_recipe(SPARSE, taught(encoder)))
    recognizer = build_recognizer(recipe, tones)
    examples = load_examples(recipe, tones, "train", recognizer, teacher=recipe.training.teacher)
    head = HiddenStateTeacher(HIDDEN, examples)
    batch = collate(examples[:8], recognizer, {})
    assert batch.teacher is not None
    mask = (batch.teacher != 0).any(dim=2)
    standard = ((batch.teacher - head.mean) / head.scale).clamp(-5, 5)
    with torch.no_grad():
        head.predict.weight.copy_(torch.eye(HIDDEN))
        head.predict.bias.zero_()

    def loss(hidden: torch.Tensor) -> float:
        routing = fixed_routing(torch.zeros(len(mask), dtype=torch.long), 1, mask)
        with torch.no_grad():
            return float(head.loss(Recognition(hidden, routing, hidden=hidden), batch.teacher))

    assert loss(standard) < 1e-6
    assert loss(standard.masked_fill(~mask[..., None], 100.0)) < 1e-6
    assert 0.1 < loss(torch.zeros_like(standard)) < 0.6


def test_the_cross_entropy_is_lowest_for_the_posteriors_of_the_teacher() -> None:
    mask = torch.tensor([[True, True, False]])
    routing = fixed_routing(torch.zeros(1, dtype=torch.long), 1, mask)
    teacher = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.0, 0.0, 0.0]]])
    scores = teacher.clamp_min(1e-9).log().requires_grad_()
    log_posteriors = scores.log_softmax(dim=-1)
    loss = PosteriorTeacher().loss(Recognition(log_posteriors, routing), teacher)
    entropy = -(teacher * teacher.clamp_min(1e-9).log()).sum() / 2
    torch.testing.assert_close(loss, entropy)
    loss.backward()
    assert scores.grad is not None
    assert float(scores.grad.abs().max()) < 1e-6


@pytest.mark.slow
def test_a_model_learns_from_the_posteriors_of_another_run(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    train(SPARSE, tmp_path / "teacher", device="cpu")
    section = json.dumps({"run": str(tmp_path / "teacher"), "weight": 2.0})
    taught_by_run = [f"training.teacher={section}"]
    student = train(SPARSE, tmp_path / "student", changes=taught_by_run, device="cpu")
    assert student.evaluation.total.error_rate < 0.5
    for change, message in (
        ("features.stack=1", "has frames of 20 ms, expected 10 ms"),
        ("task.phonemes=[a, i]", "has 4 phonemes, expected those of the model"),
    ):
        with pytest.raises(InputError, match=message):
            train(SPARSE, tmp_path / change, changes=[*taught_by_run, change], device="cpu")
    with pytest.raises(InputError, match="neither of model and run"):
        load_recipe(SPARSE, ["training.teacher={weight: 1.0}"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["features.sample_rate=8000"], "log mel features at 16 kHz"),
        (["features.stack=3"], "found frames of 30 ms"),
        (["training.augmentation.quiet_ends=0.5"], "quiet_ends: expected 0"),
        (["training.teacher.weight=0"], "weight"),
        (["training.teacher.layer=7"], "found 7, but .* has 2 layers"),
    ],
    ids=["rate", "frames", "quiet_ends", "weight", "layer"],
)
def test_a_teacher_that_does_not_fit_is_refused(
    encoder: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pin_encoders(load_recipe(SPARSE, [*taught(encoder), *changes]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["features.n_mels=80"], "unknown key features.n_mels"),
        (["features.layers=middle"], "features.layers"),
        (["training.augmentation.vocal_tract=0.1"], "vocal_tract: found 0.1, which is for log mel"),
        (["features.layers=7"], "found 7, but .* has 2 layers"),
        (["features.kind=pretrainde"], "features"),
    ],
    ids=["bands", "layers", "vocal_tract", "layer", "kind"],
)
def test_wrong_features_are_refused(encoder: Path, changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pin_encoders(load_recipe(SPARSE, [*on(encoder), *changes]))


def test_a_teacher_has_a_front_end_of_its_layer(encoder: Path) -> None:
    recipe = pin_encoders(load_recipe(SPARSE, taught(encoder)))
    assert recipe.training.teacher is not None
    front_end = build_teacher(recipe.training.teacher)
    assert front_end.encode(np.zeros(3_200, np.float32)).shape == (10, HIDDEN)


@pytest.mark.parametrize("consistency", [0.0, 0.2])
def test_adapters_begin_as_the_frozen_encoder_with_the_same_augmentation(
    tones: PreparedCorpus, tmp_path: Path, consistency: float
) -> None:
    """The loss of the first step is that of the frozen encoder: masks are behind the adapters."""
    # Encoders of transformers draw random numbers even when they are frozen; ours does not.
    encoder = write_encoder(tmp_path / "whisper", "whisper")
    dense = ["model.encoder.sparse=null", f"training.stages.joint.consistency={consistency}"]
    loss = {}
    for name, changes in (
        ("frozen", []),
        ("adapted", ["model.adapters={num_experts: 3, rank: 2}"]),
    ):
        recipe = pin_encoders(load_recipe(SPARSE, [*on(encoder), *dense, *changes]))
        recognizer = build_recognizer(recipe, tones)
        torch.manual_seed(0)
        for parameter in recognizer.encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        module = StageModule(recognizer, recipe, 0)
        examples = load_examples(recipe, tones, "train", recognizer)[:6]
        batch = collate(examples, recognizer, {})
        module.freeze_parts()
        module.training_step(batch, 0)  # loads the encoder, which draws random numbers
        torch.manual_seed(1)
        loss[name] = module.training_step(batch, 0).item()
    assert loss["adapted"] == pytest.approx(loss["frozen"], abs=2e-3)
