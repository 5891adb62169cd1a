from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
from interruptible import context, run_once, train_until
from waiting import communicate, exit_code, run, wait_until

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.run_folder import load_run

if TYPE_CHECKING:
    from conftest import Outcome

RECIPE = tiny.RECIPES / "tiny_recognize.yaml"
SAME = ("model.safetensors", "model.json", "metrics.csv", "evaluation.json", "recipe.yaml")


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in SAME:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.fixture(scope="module", params=[(4, True), (6, False)], ids=["after", "before"])
def killed_often(
    request: pytest.FixtureRequest,
    tones: PreparedCorpus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run killed at one write of a file after another: after it, or with it half done."""
    first, after = request.param
    folder = tmp_path_factory.mktemp("killed") / "run"
    kills = 0
    # Each try gets a little further, so that there is an end.
    while (code := run_once(RECIPE, folder, first + 3 * kills, after)) != 0:
        assert code == -signal.SIGKILL
        kills += 1
        assert kills < 12, "resuming makes no headway"
    assert kills >= 3
    return folder


def test_killed_again_and_again_ends_as_if_nothing_had_happened(
    recognized: Trained, killed_often: Path
) -> None:
    assert_same_run(killed_often, recognized.run.folder)


def test_resuming_leaves_no_half_written_file_behind(killed_often: Path) -> None:
    assert [path.name for path in killed_often.rglob(".*") if path.is_file()] == []


@pytest.mark.parametrize("stage", ["1_experts", "3_joint"])
def test_killed_at_any_moment_of_a_stage_ends_as_if_nothing_had_happened(
    recognized: Trained, tmp_path: Path, stage: str
) -> None:
    folder = tmp_path / "run"
    data = os.environ["PHONEME_MOE_DATA"]
    process = context.Process(target=train_until, args=(RECIPE, folder, data, None, True))
    process.start()
    wait_until((folder / "checkpoints" / stage / "last.ckpt").exists, process)
    # Some milliseconds into the next epoch, other ones each time.
    time.sleep((time.monotonic_ns() % 40) / 1000)
    process.kill()
    assert exit_code(process) == -signal.SIGKILL
    assert run_once(RECIPE, folder, None, True) == 0
    assert_same_run(folder, recognized.run.folder)


def test_what_is_killed_is_not_usable_and_says_how_to_finish_it(
    recognized: Trained, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    folder = tmp_path / "a run"
    assert run_once(RECIPE, folder, 9, True) == -signal.SIGKILL
    with pytest.raises(InputError) as told:
        load_run(folder)
    _, _, command = str(told.value).partition("finish it with: phoneme-moe ")
    outcome = phoneme_moe(*shlex.split(command))
    assert outcome.code == 0, outcome.err
    assert_same_run(folder, recognized.run.folder)


@pytest.fixture
def heeding_interrupts() -> Iterator[None]:
    """A shell starts what runs in its background deaf to interrupts, which processes inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_interrupts")
def test_an_interrupt_says_how_to_go_on_and_that_works(recognized: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    command = [sys.executable, "-m", "phoneme_moe"]
    arguments = ["train", str(RECIPE), "--out", str(folder), "--device", "cpu"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until((folder / "checkpoints" / "1_experts" / "last.ckpt").exists, process)
    process.send_signal(signal.SIGINT)
    out, err = communicate(process)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("interrupted by SIGINT; go on with: phoneme-moe ")
    hint = shlex.split(line.removeprefix("interrupted by SIGINT; go on with: "))
    assert hint == ["phoneme-moe", *arguments, "--resume"]
    done = run([*command, *hint[1:]])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_same_run(folder, recognized.run.folder)
