"""The examples run as they are, and what the documents say of them holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tiny
import torch
from nbclient import NotebookClient

from phoneme_moe.corpora import PreparedCorpus

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(example: str) -> str:
    command = [sys.executable, EXAMPLES / example]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_digits_that_a_linear_model_cannot_read_are_read_by_mixtures() -> None:
    output = output_of("digits.py")
    accuracy = {
        name: float(percent)
        for name, percent in re.findall(r"^(linear model|\w+): ([\d.]+)%", output, re.MULTILINE)
    }
    assert accuracy["linear model"] < 40
    assert min(accuracy[name] for name in ("dense_net", "gated_mixture", "SparseNet")) > 88
    # Of two contrasts and ten digits that are equally frequent: at most 1 and 3.3 bits.
    bits = re.findall(r"and (\w+): ([\d.]+) bits", output)
    assert [name for name, _ in bits] == ["contrast", "digit"] * 2
    gated, _, sparse, _ = (float(number) for _, number in bits)
    assert gated > 0.6
    assert sparse > 0.4
    assert "expert_" in output


def test_two_linear_experts_divide_the_regimes_that_one_net_confuses() -> None:
    output = output_of("regimes.py")
    errors = [float(number) for number in re.findall(r"RMSE ([\d.]+) kW", output)]
    small, large, mixture = errors
    assert mixture < 0.7 * small
    assert mixture < large + 0.03  # with a fifteenth of its weights
    # Of regimes that are nearly equally frequent, with two experts: at most 1 bit; by chance
    # (experts - 1) / (2 days ln 2) < 0.001.
    (bits,) = re.findall(r"and regime: ([\d.]+) bits", output)
    assert float(bits) > 0.6
    assert re.search(r"regime cooling by expert_(\d).* regime heating by expert_(?!\1)\d", output)


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(EXAMPLES / "hampshire_waibel.ipynb", as_version=4)


def test_the_notebook_is_committed_with_its_outputs(notebook: nbformat.NotebookNode) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = json.dumps([cell.outputs for cell in cells])
    assert "<svg" in shown
    assert "served mainly by their own experts" in shown
    names = {output.get("name") for cell in cells for output in cell.outputs}
    assert "stderr" not in names


def test_the_notebook_runs_from_training_to_the_report(
    notebook: nbformat.NotebookNode, tones: PreparedCorpus, tmp_path: Path
) -> None:
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    # The same on the tiny corpus: an expert for each speaker behind a gate, on single phonemes.
    recipe = tiny.RECIPES / "tiny_classify.yaml"
    changes = ["corpus.held_out_speakers=[]"]
    parameters.source = f"RECIPE, CHANGES, FOLDER = {str(recipe)!r}, {changes}, 'run'"
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    texts = [o.text for c in notebook.cells for o in c.get("outputs", ()) if "text" in o]
    listed = re.findall(r"^(\w+): own expert \d+%", "".join(texts), re.MULTILINE)
    assert listed == sorted(tiny.SPEAKERS)


def test_the_code_of_the_document_runs_and_prints_what_it_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (EXAMPLES.parent / "docs" / "mixtures.md").read_text(encoding="utf-8")
    mixture, layer, report, significance = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```text\n(\[.*?)```", text, re.DOTALL)
    exec(mixture, {})
    numbers = [
        [float(number) for number in re.findall(r"\d+\.\d+(?:e-\d+)?", printed)]
        for printed in (capsys.readouterr().out, shown)
    ]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
    assert numbers[0][:2] == pytest.approx([0.8, 0.5], abs=0.02)

    names: dict[str, object] = {"rows": torch.randn(9, 64)}
    exec("from phoneme_moe.mixture import *", names)
    exec(layer, names)
    weights = names["routing"].routing().weights.numpy(force=True)
    names |= {"weights": weights, "labels": list("abcabcabc")}
    exec(report, names)
    exec(significance, names)
    assert "speaker_information" in capsys.readouterr().out
