"""Training that begins with the weights of another run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained, train

SPARSE = tiny.RECIPES / "tiny_sparse.yaml"
STILL = "training.stages.joint.learning_rate=1e-12"


@pytest.fixture(scope="module")
def trained(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SPARSE, tmp_path_factory.mktemp("initial") / "run", device="cpu")


def changes(folder: Path, *more: str) -> list[str]:
    return [f"training.initial_weights={folder}", "training.stages.joint.epochs=1", *more]


@pytest.mark.slow
def test_a_model_begins_with_the_weights_of_a_run(trained: Trained, tmp_path: Path) -> None:
    folder = trained.run.folder
    still = changes(folder, STILL, "training.stages.joint.weight_decay=0")
    again = train(SPARSE, tmp_path / "again", changes=still, device="cpu")
    weights = trained.run.recognizer.state_dict()
    for name, weight in again.run.recognizer.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=1e-5, atol=1e-6)
    assert again.evaluation.total.error_rate == trained.evaluation.total.error_rate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.encoder.width=24", r"found shape .*, expected \[.*24"),
        ("training.initial_weights=nowhere", "nowhere"),
    ],
    ids=["shape", "missing"],
)
@pytest.mark.slow
def test_a_run_that_does_not_fit_is_refused(
    trained: Trained, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(SPARSE, tmp_path / "run", changes=changes(trained.run.folder, change), device="cpu")
