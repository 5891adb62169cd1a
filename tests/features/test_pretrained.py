"""Pretrained encoders against transformers' own, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import FAMILIES, HIDDEN, LAYERS, write_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from phoneme_moe.errors import InputError
from phoneme_moe.features.encoder_folder import open_encoder_folder
from phoneme_moe.features.encoder_weights import load_encoder
from phoneme_moe.features.encoder_windows import HOP
from phoneme_moe.features.pretrained import HiddenStates, PretrainedFrontEnd
from phoneme_moe.features.whisper_log_mel import WhisperLogMel

pytest.importorskip("transformers", reason="needs transformers (extra pretrained)")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {family: write_encoder(root / family, family) for family in FAMILIES}


def noise(num_samples: int, seed: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32)


def front_end(folder: Path, layers: str | int = "mix") -> PretrainedFrontEnd:
    size = HIDDEN * (LAYERS + 1) if layers == "mix" else HIDDEN
    return PretrainedFrontEnd(str(folder), None, layers, size, LAYERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recording_has_a_frame_for_every_20_ms(folders: dict[str, Path], family: str) -> None:
    encoder = front_end(folders[family])
    for num_samples in (0, 1, 319, 320, 399, 400, 1_000, 16_000, 16_319):
        features = encoder.encode(noise(num_samples))
        assert features.shape == (num_samples // HOP, HIDDEN * (LAYERS + 1))
        assert bool(features.isfinite().all())


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-large", "hubert", "wavlm"])
def test_hidden_states_are_those_of_transformers(folders: dict[str, Path], family: str) -> None:
    import transformers

    model = transformers.AutoModel.from_pretrained(folders[family]).eval()
    sound = noise(8_000)
    inputs = torch.from_numpy(sound)
    if family == "wav2vec2-large":
        inputs = (inputs - inputs.mean()) / inputs.std(correction=0)
    inputs = torch.nn.functional.pad(inputs, (40, 40))[None]
    with torch.no_grad():
        expected = torch.cat(model(inputs, output_hidden_states=True).hidden_states, dim=-1)[0]
    torch.testing.assert_close(
        front_end(folders[family]).encode(sound), expected, rtol=1e-3, atol=1e-4
    )


def test_whisper_of_30_seconds_is_that_of_transformers(folders: dict[str, Path]) -> None:
    import transformers

    model = transformers.WhisperModel.from_pretrained(folders["whisper"]).eval()
    sound = noise(480_000)
    states = HiddenStates(open_encoder_folder(str(folders["whisper"])))
    log_mel = states.log_mel(torch.from_numpy(sound))
    with torch.no_grad():
        expected = model.encoder(log_mel[None]).last_hidden_state[0]
        found = states(sound)[:, -1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_log_mel_of_whisper_is_its_own_apart_from_10_ms(folders: dict[str, Path]) -> None:
    import transformers

    extractor = transformers.WhisperFeatureExtractor()
    states = HiddenStates(open_encoder_folder(str(folders["whisper"])))
    sound = noise(480_000)
    # Ours is centred on the frame, a frame of 10 ms later than theirs.
    theirs = extractor(sound, sampling_rate=16_000, return_tensors="pt")["input_features"][0]
    ours = states.log_mel(torch.from_numpy(sound))
    torch.testing.assert_close(ours[:, 1:-4], theirs[:, 2:-3], rtol=1e-3, atol=1e-3)


def test_features_of_w2v_bert_are_those_of_transformers(folders: dict[str, Path]) -> None:
    import transformers

    folder = folders["wav2vec2-bert"]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    sound = noise(16_000)
    extractor = transformers.SeamlessM4TFeatureExtractor()
    inputs = extractor(np.pad(sound, 120), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(inputs["input_features"], output_hidden_states=True).hidden_states[-1][0]
    found = front_end(folder, "last").encode(sound)
    torch.testing.assert_close(found, expected[: len(found)], rtol=1e-4, atol=1e-4)
    assert len(expected) - len(found) in {0, 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_company_in_a_batch_changes_nothing(folders: dict[str, Path], family: str) -> None:
    encoder = front_end(folders[family])
    long, short = noise(9_000, 1), noise(4_001, 2)
    batch = torch.zeros(2, 9_000)
    batch[0], batch[1, : len(short)] = torch.from_numpy(long), torch.from_numpy(short)
    features, mask = encoder(batch, torch.tensor([len(long), len(short)]))
    assert mask.sum(dim=1).tolist() == [len(long) // HOP, len(short) // HOP]
    assert torch.equal(features[1, : len(short) // HOP], encoder.encode(short))
    assert not features[1, len(short) // HOP :].any()


def test_layers_are_parts_of_the_mix(folders: dict[str, Path]) -> None:
    sound = noise(5_000)
    mix = front_end(folders["whisper"]).encode(sound)
    for layer, number in ((0, 0), (1, 1), ("last", LAYERS)):
        one = front_end(folders["whisper"], layer)
        assert torch.equal(one.encode(sound), mix[:, number * HIDDEN : (number + 1) * HIDDEN])
        assert torch.equal(one.select(mix), one.encode(sound))
        every = one.of_all_layers()
        assert every is not None
        assert torch.equal(every.encode(sound), mix)


def test_long_recordings_are_encoded_in_windows_with_context(folders: dict[str, Path]) -> None:
    encoder = front_end(folders["wavlm"], "last")
    sound = noise(16_000 * 47 + 123)
    features = encoder.encode(sound)
    assert len(features) == len(sound) // HOP
    second = encoder.encode_window(sound[15 * 16_000 : 45 * 16_000])[:, -1]
    assert torch.equal(features[20 * 50 : 40 * 50], second[5 * 50 : 25 * 50])
    exact = encoder.encode(sound[: 30 * 16_000])
    assert torch.equal(features[: 20 * 50][:5], encoder.encode_window(sound[: 25 * 16_000])[:5, -1])
    assert len(exact) == 30 * 50


@settings(max_examples=20, deadline=None)
@given(frame=st.integers(2, 40))
def test_frames_are_centred_on_their_samples(frame: int) -> None:
    log_mel = WhisperLogMel(torch.eye(201))
    sound = torch.zeros(48 * HOP)
    sound[frame * HOP + HOP // 2] = 1.0
    power = log_mel(sound).sum(dim=0)
    assert int(power.argmax()) == 2 * frame


def _edit(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    def copied(family: str) -> Path:
        return Path(shutil.copytree(folders[family], tmp_path / family))

    return copied


def test_a_folder_with_the_encoder_alone_works(copy: Callable[[str], Path]) -> None:
    folder = copy("whisper")
    before = front_end(folder).encode(noise(3_000))
    _edit(folder, lambda w: {n: t for n, t in w.items() if n.startswith("model.encoder.")})
    assert torch.equal(front_end(folder).encode(noise(3_000)), before)
    _edit(folder, lambda w: {n.removeprefix("model.encoder."): t for n, t in w.items()})
    assert torch.equal(front_end(folder).encode(noise(3_000)), before)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_both_names_of_weight_normalisation_are_read(
    copy: Callable[[str], Path], family: str
) -> None:
    folder = copy(family)
    before = front_end(folder).encode(noise(3_000))

    def rename(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        pairs = (
            ("parametrizations.weight.original0", "weight_g"),
            ("parametrizations.weight.original1", "weight_v"),
        )
        renamed = {}
        for name, tensor in weights.items():
            other = name
            for newer, older in pairs:
                other = (
                    other.replace(newer, older) if newer in name else other.replace(older, newer)
                )
            renamed[other] = tensor
        assert set(renamed) != set(weights)
        return renamed

    _edit(folder, rename)
    assert torch.equal(front_end(folder).encode(noise(3_000)), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_weight_is_named(copy: Callable[[str], Path], family: str) -> None:
    folder = copy(family)
    name = next(
        n
        for n in load_file(folder / "model.safetensors")
        if ".layers.1." in n and "decoder" not in n
    )
    _edit(folder, lambda w: {n: t for n, t in w.items() if n != name})
    with pytest.raises(InputError, match=rf"layers\.1\..*{name.rpartition('.')[2]} is missing"):
        front_end(folder).encode(noise(3_000))


def _config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_wrong_folders_are_refused_in_one_line(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("hubert")
    right = open_encoder_folder(str(folder))
    assert (right.hidden, right.num_layers) == (HIDDEN, LAYERS)
    with pytest.raises(InputError, match=r"model\.safetensors: SHA-256: found .*, expected 0000"):
        open_encoder_folder(str(folder), "0" * 64)
    _edit(
        folder,
        lambda w: {
            n: t[..., :1] if n.endswith("layers.0.final_layer_norm.weight") else t
            for n, t in w.items()
        },
    )
    with pytest.raises(InputError, match=r"final_layer_norm\.weight: found shape \(1,\), expected"):
        load_encoder(open_encoder_folder(str(folder)))
    _config(folder, hidden_size=100_000_000)
    with pytest.raises(InputError, match=r"hidden_size: found 100000000"):
        open_encoder_folder(str(folder))
    _config(folder, hidden_size=HIDDEN, model_type="bert")
    with pytest.raises(InputError, match=r"model_type: found 'bert'.*expected one of whisper"):
        open_encoder_folder(str(folder))
    _config(folder, model_type="hubert")
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    with pytest.raises(InputError, match="sampling_rate: found 8000, expected 16000"):
        open_encoder_folder(str(folder))
    (folder / "preprocessor_config.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"found pytorch_model\.bin, expected model\.safetensors"):
        open_encoder_folder(str(folder))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="found no safetensors"):
        load_encoder(open_encoder_folder(str(folder)))
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: found no JSON"):
        open_encoder_folder(str(folder))
    with pytest.raises(InputError, match=r"features\.model: nowhere: no such folder"):
        open_encoder_folder("nowhere")


def test_a_hub_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def refuse(*args: object, **keywords: object) -> str:
        raise OSError("no route to the hub\nmore lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(InputError, match=r"cannot be fetched from the hub: no route to the hub$"):
        open_encoder_folder("openai/whisper-tiny.en")
