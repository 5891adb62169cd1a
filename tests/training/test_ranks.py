"""Processes that train one model together: the same training as in one process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from waiting import communicate, run, wait_until

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example
from phoneme_moe.files.metrics_file import read_rows
from phoneme_moe.pipeline import train
from phoneme_moe.system.launch import is_one_of_several
from phoneme_moe.training.sampler import BalancedBatches

if TYPE_CHECKING:
    from conftest import Outcome

#: Nothing random: the parts of a batch draw other numbers than the whole.
CERTAIN = ("training.augmentation={}", "training.stages.joint.epochs=3")
SPARSE = (
    *CERTAIN,
    "model.encoder.dropout=0",
    "model.encoder.sparse.dropout=0",
    "model.encoder.sparse.router.noise=none",
    "model.encoder.sparse.balance.importance=0.01",
)
RECIPE = tiny.RECIPES / "tiny_sparse.yaml"
EXPERTS = tiny.RECIPES / "tiny_recognize.yaml"
#: Three speaker experts and a gate, whose stages route by speaker and by the gate.
BY_SPEAKER = (
    "training.augmentation={}",
    "training.stages.experts.epochs=2",
    "training.stages.gate.epochs=2",
    "training.stages.joint.epochs=2",
    "model.expert.dropout=0",
    "training.timing=null",
)


def command(recipe: Path, out: Path, changes: Sequence[str], *options: str) -> list[str]:
    settings = [part for change in changes for part in ("--set", change)]
    words = ["train", str(recipe), "--out", str(out), "--device", "cpu", *settings, *options]
    return [sys.executable, "-m", "phoneme_moe", *words]


def assert_close(
    folder: Path, expected: Path, tolerance: float = 1e-5, of_weights: float = 1e-3
) -> None:
    """Every metric of every epoch agrees, and the weights."""
    rows, expected_rows = (read_rows(run / "metrics.csv") for run in (folder, expected))
    assert len(rows) == len(expected_rows)
    for row, expected_row in zip(rows, expected_rows, strict=True):
        for name, value in expected_row.items():
            if isinstance(value, str):
                assert row[name] == value
                continue
            # Means over the parts of a batch, which are of unequal length.
            loose = name.startswith("load/") or name.endswith("/entropy")
            near = 0.02 if loose else tolerance
            assert row[name] == pytest.approx(value, abs=near), name
    weights, expected_weights = (load_file(run / "model.safetensors") for run in (folder, expected))
    for name, weight in expected_weights.items():
        assert (weights[name] - weight).abs().max() < of_weights, name


@pytest.fixture(scope="module")
def alone(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        RECIPE, tmp_path_factory.mktemp("runs") / "alone", changes=SPARSE, device="cpu"
    ).run.folder


@pytest.fixture(scope="module")
def together(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "together"
    done = run(command(RECIPE, folder, SPARSE, "--devices", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tiny_sparse on tones test") == 1
    return folder


def test_two_processes_train_as_one_does(alone: Path, together: Path) -> None:
    assert_close(together, alone)


def killed(words: Sequence[str], metrics: Path, rows: int) -> str:
    """What is printed when the second of two processes is killed after some epochs."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: metrics.exists() and len(read_rows(metrics)) >= rows, process)
        os.kill(rank_processes(process.pid)[1], signal.SIGKILL)
        _, errors = communicate(process)
    assert process.returncode == 1
    return "".join(line for line in errors.splitlines() if " min left" not in line)


def test_after_one_is_killed_one_process_goes_on_as_if_nothing_had_happened(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    told = killed(
        command(EXPERTS, folder, BY_SPEAKER, "--devices", "2"), folder / "metrics.csv", rows=3
    )
    assert "process 2 of 2 was ended by SIGKILL, so all ended; go on with: phoneme-moe" in told
    assert told.endswith("--resume")
    assert not (folder / "model.json").exists()
    train(EXPERTS, folder, changes=BY_SPEAKER, device="cpu", resume=True)
    alone = train(EXPERTS, tmp_path / "alone", changes=BY_SPEAKER, device="cpu")
    assert_close(folder, alone.run.folder)


def test_a_checkpoint_of_spread_experts_is_whole(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = command(RECIPE, folder, SPARSE, "--devices", "2", "--spread-experts")
    killed(words, folder / "metrics.csv", rows=1)
    train(RECIPE, folder, changes=SPARSE, device="cpu", resume=True)
    assert_close(folder, alone)


def test_spread_experts_learn_as_copies_do(alone: Path, tmp_path: Path) -> None:
    done = run(command(RECIPE, tmp_path / "run", SPARSE, "--devices", "2", "--spread-experts"))
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "run", alone)


def test_one_process_has_nothing_to_spread(
    phoneme_moe: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = phoneme_moe("train", RECIPE, "--out", tmp_path / "run", "--spread-experts")
    assert outcome.code == 1
    assert outcome.err == "phoneme-moe: --spread-experts: found one process, expected several\n"


def rank_processes(launcher: int) -> list[int]:
    """Numbers of the processes that a launcher has started, by rank."""
    ranks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        found = [int(v[5:]) for v in variables if v.startswith(b"RANK=")]
        if parent == launcher and found:
            ranks[found[0]] = int(folder.name)
    return [ranks[rank] for rank in sorted(ranks)]


def test_ctrl_c_ends_all_with_one_line(tones: PreparedCorpus, tmp_path: Path) -> None:
    words = command(RECIPE, tmp_path / "run", (), "--devices", "2")
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        wait_until((tmp_path / "run" / "metrics.csv").exists, process)
        started = rank_processes(process.pid)
        assert len(started) == 2
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = communicate(process)
    assert process.returncode == 128 + signal.SIGINT
    told = [line for line in errors.splitlines() if " min left" not in line]
    assert len(told) == 1
    assert told[0].startswith("interrupted by SIGINT; go on with: phoneme-moe train")
    assert told[0].endswith("--resume")
    assert not any(Path("/proc", str(number)).exists() for number in started)


def together_with_variables(
    words: Sequence[str], variables: Sequence[dict[str, str]]
) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of processes that differ in environment variables."""
    with ThreadPoolExecutor(len(variables)) as pool:
        return list(pool.map(lambda own: run_with(words, own), variables))


def run_with(words: Sequence[str], variables: dict[str, str]) -> tuple[int, str, str]:
    with subprocess.Popen(
        words,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = communicate(process)
    return process.returncode, out, err


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_two_machines_of_one_process_each(alone: Path, tmp_path: Path) -> None:
    words = command(RECIPE, tmp_path / "run", SPARSE, "--nodes", "2")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ends = together_with_variables(words, [address | {"NODE_RANK": str(n)} for n in range(2)])
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sum(out.count("tiny_sparse on tones test") for _, out, _ in ends) == 1
    assert_close(tmp_path / "run", alone)


def test_two_tasks_of_srun_fail_together_with_one_line(
    tones: PreparedCorpus, tmp_path: Path
) -> None:
    words = command(RECIPE, tmp_path / "run", ("corpus.speakers=[ann]", "corpus.max_utterances=1"))
    common = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    tasks = [{"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in range(2)]
    ends = together_with_variables(words, [common | task for task in tasks])
    assert [code for code, _, _ in ends] == [1, 1], ends
    assert "".join(err for _, _, err in ends) == (
        "phoneme-moe: found 2 processes, expected at most 1: one for each utterance of train\n"
    )


def test_the_script_of_a_slurm_job_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not is_one_of_several()


def test_several_machines_need_an_address(
    phoneme_moe: Callable[..., Outcome], tones: PreparedCorpus, tmp_path: Path
) -> None:
    outcome = phoneme_moe("train", RECIPE, "--out", tmp_path / "run", "--nodes", "2")
    assert outcome.code == 1
    assert outcome.err == (
        "phoneme-moe: --nodes: found 2, which need MASTER_ADDR (of the first one) and NODE_RANK "
        "(0 to 1) in the environment of each; or start with torchrun or srun\n"
    )


def test_devices_must_be_those_that_torchrun_has_started(
    phoneme_moe: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables = {"RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**variables, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    outcome = phoneme_moe("train", RECIPE, "--out", tmp_path / "run", "--devices", "4")
    assert outcome.code == 1
    assert outcome.err.startswith(
        "phoneme-moe: --devices: found 4 on 1 nodes, but torchrun or srun has started"
    )


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch_size=st.integers(1, 8),
    num_ranks=st.integers(1, 4),
)
def test_the_parts_of_all_processes_are_the_batches_of_one(
    sizes: list[int], batch_size: int, num_ranks: int
) -> None:
    examples = [
        Example("u", f"s{number}", (), torch.zeros(5 + number + take, 1))
        for number, size in enumerate(sizes)
        for take in range(size)
    ]
    whole = list(BalancedBatches(examples, batch_size, seed=1))
    parts = [
        list(BalancedBatches(examples, batch_size, seed=1, rank=rank, num_ranks=num_ranks))
        for rank in range(num_ranks)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for batch, *pieces in zip(whole, *parts, strict=True):
        if len(batch) < num_ranks:
            assert all(piece == batch for piece in pieces)
        else:
            assert all(pieces)
            assert sorted(chain(*pieces)) == sorted(batch)
