"""Damaged checkpoints, and those of strangers: one line that says how to go on, never code."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.training.checkpoints import StageCheckpoint, read_checkpoint

STAGE = "checkpoints/3_joint"
ADVICE = "; remove {} to train this stage again, with the same result"


@pytest.fixture
def stopped(recognized: Trained, tmp_path: Path) -> Path:
    """The trained run as if it had been killed in its last stage, after the last epoch."""
    folder = Path(shutil.copytree(recognized.run.folder, tmp_path / "run"))
    (folder / STAGE / "final.safetensors").unlink()
    for name in ("model.json", "model.safetensors", "decoding.json", "evaluation.json"):
        (folder / name).unlink()
    return folder


class Explodes:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str, int]]:
        return os.mknod, (str(self.file), 0o600)


def flipped(file: Path) -> None:
    """One bit in the middle, which is in a weight."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def compressed(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def replaced(file: Path, make: Callable[[], object]) -> None:
    file.unlink()
    make()


def changed(*keys: Any, value: Any) -> Callable[[Path], None]:
    """Changes a value in a checkpoint."""

    def change(file: Path) -> None:
        content = torch.load(file, weights_only=True)
        target = content
        for key in keys[:-1]:
            target = target[key]
        if value is None:
            del target[keys[-1]]
        else:
            target[keys[-1]] = value
        torch.save(content, file)

    return change


LOOP = ("loops", "fit_loop")
DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1000]),
    "one bit": flipped,
    "garbage": lambda file: file.write_bytes(b"\x80\x02" * 1000),
    "a folder": lambda file: replaced(file, file.mkdir),
    "a link to itself": lambda file: replaced(file, lambda: file.symlink_to(file)),
    "a pipe": lambda file: replaced(file, lambda: os.mkfifo(file)),
    "compressed": compressed,
    "a list": lambda file: torch.save([1], file),
    "an old archive": lambda file: torch.save({}, file, _use_new_zipfile_serialization=False),
    "another stage": lambda file: shutil.copy(file.parents[1] / "2_gate" / "last.ckpt", file),
    "no weights": changed("state_dict", value=None),
    "no optimizer": changed("optimizer_states", value=None),
    "no loops": changed("loops", value=None),
    "another version": changed("pytorch-lightning_version", value="x"),
    "weights a list": changed("state_dict", value=[1]),
    "callbacks a list": changed("callbacks", value=[1]),
    "epochs": changed(*LOOP, "epoch_progress", "current", value={"completed": 10**30}),
    "fewer epochs": changed(*LOOP, "epoch_progress", "current", "processed", value=1),
    "a schedule of words": changed("lr_schedulers", 0, "total_steps", value="x"),
    "another step": changed("lr_schedulers", 0, "last_epoch", value=1),
    "rows": changed("callbacks", "MetricsFile", "rows", value=[{"stage": 3}]),
}


def resumed(folder: Path, recipe: Any) -> str:
    """The error line of resuming."""
    with pytest.raises(InputError) as caught:
        train(recipe, folder, resume=True, device="cpu")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_with_what_to_do(
    recognized: Trained, stopped: Path, damage: str
) -> None:
    file = stopped / STAGE / "last.ckpt"
    DAMAGES[damage](file)
    message = resumed(stopped, recognized.run.recipe)
    assert message.startswith(f"{file}: ")
    assert message.endswith(
        f"; remove {file.parent} to train this stage again, with the same result"
    )


@pytest.mark.parametrize("name", ["best.ckpt", "final.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "a folder", "a link to itself"])
def test_other_damaged_files_of_a_stage_are_named_with_what_to_do(
    recognized: Trained, stopped: Path, name: str, damage: str
) -> None:
    file = stopped / STAGE / name
    if name == "final.safetensors":
        shutil.copy(stopped / "checkpoints/1_experts" / name, file)
    DAMAGES[damage](file)
    message = resumed(stopped, recognized.run.recipe)
    assert message.startswith(f"{file}: ")
    assert message.endswith(
        f"; remove {file.parent} to train this stage again, with the same result"
    )


def test_what_the_line_says_gives_the_same_weights(recognized: Trained, stopped: Path) -> None:
    DAMAGES["one bit"](stopped / STAGE / "last.ckpt")
    shutil.rmtree(stopped / STAGE)
    train(recognized.run.recipe, stopped, resume=True, device="cpu")
    for name in ("model.safetensors", "metrics.csv"):
        assert (stopped / name).read_bytes() == (recognized.run.folder / name).read_bytes()


def test_weights_that_are_not_finite_are_not_taken_for_a_finished_stage(
    recognized: Trained, stopped: Path
) -> None:
    file = stopped / STAGE / "final.safetensors"
    weights = load_file(stopped / "checkpoints/1_experts" / file.name)
    name = max(weights)
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, file)
    message = resumed(stopped, recognized.run.recipe)
    assert f"{file}: {name}: found a number that is not finite" in message


def test_code_in_a_checkpoint_never_runs(
    recognized: Trained, stopped: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "exploded"
    for name in ("last.ckpt", "best.ckpt"):
        file = stopped / STAGE / name
        kept = file.read_bytes()
        torch.save({"state_dict": Explodes(canary)}, file)
        message = resumed(stopped, recognized.run.recipe)
        assert f"{file}: not readable as a checkpoint: it holds something else than" in message
        file.write_bytes(kept)
    assert not canary.exists()


def test_one_changed_bit_anywhere_is_noticed(stopped: Path) -> None:
    file = stopped / STAGE / "last.ckpt"
    content = file.read_bytes()
    expected = repr(read_checkpoint(file))
    for place in range(97, len(content), len(content) // 40):
        changed_content = bytearray(content)
        changed_content[place] ^= 1 << place % 8
        file.write_bytes(changed_content)
        try:
            found = repr(read_checkpoint(file))
        except InputError:
            continue
        assert found == expected  # a bit of the padding


def test_a_checkpoint_moves_with_its_folder_and_names_no_other_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    checkpoint = StageCheckpoint(tmp_path / "here" / "best.ckpt", "dev_error")
    score = torch.tensor(0.25)
    state = checkpoint.state_dict() | {
        "dirpath": str(tmp_path / "elsewhere"),
        "best_k_models": {f"{tmp_path}/here/../victim": score},
        "kth_best_model_path": f"{tmp_path}/here/../victim",
        "best_model_path": f"{tmp_path}/here/../victim",
    }
    checkpoint.load_state_dict(state)
    here = str(tmp_path / "here" / "best.ckpt")
    assert checkpoint.best_k_models == {here: score}
    assert checkpoint.best_model_path == checkpoint.kth_best_model_path == here
    assert not checkpoint.check_monitor_top_k(trainer=None, current=None)
    assert checkpoint.kth_value == score
