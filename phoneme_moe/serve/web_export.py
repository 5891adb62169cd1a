"""A static page that recognises speech in the browser itself, without a server.

The folder holds the exported network, the settings of its front end and decoder as ``model.json``,
and onnxruntime-web, which runs the network; any file host serves it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.audio.mixing import DC_SHARE
from phoneme_moe.audio.waveform import SILENT_PEAK
from phoneme_moe.errors import InputError
from phoneme_moe.features.log_mel_numpy import (
    ACTIVE_RANGE_DB,
    DYNAMIC_RANGE_DB,
    FrontEnd,
    mel_filters,
)
from phoneme_moe.files.atomic import atomic_folder, is_empty
from phoneme_moe.files.writing import write_bytes, write_json
from phoneme_moe.report.page.palette import expert_colours
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.export import export_onnx
from phoneme_moe.transcription.run_engine import spec_of
from phoneme_moe.transcription.windowing import BATCH_FRAMES

RUNTIME_VERSION = "1.30.0"
"""Version of onnxruntime-web that is tested."""

RUNTIME = Path("node_modules/onnxruntime-web")
"""Where npm puts it."""

_RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
_SHARED = ("elements.js", "lanes.js", "timeline.js")
"""Scripts of the workbench that the page uses, too."""


def export_web(
    run: LoadedRun, folder: Path, runtime: Path | None = None, int8: bool = False
) -> Path:
    """Writes the folder, atomically.

    Args:
        run: A run that recognises utterances from log mel features.
        folder: The new folder, which must be missing or empty.
        runtime: Folder of the npm package onnxruntime-web; by default ``node_modules`` here.
        int8: Whether to quantise the weights of matrix products to 8 bits.

    Returns:
        The folder.

    Raises:
        InputError: The run cannot be exported so, the folder is not empty, or onnxruntime-web is
            not there.
    """
    spec = spec_of(run)
    _check(run)
    files = _runtime_files(RUNTIME if runtime is None else runtime)
    with atomic_folder(folder, _require_empty) as new:
        export_onnx(run, new / "model.onnx", int8)
        write_json(new / "model.json", _settings(run, spec.front_end()))
        serve = resources.files("phoneme_moe.serve")
        for name in _SHARED:
            write_bytes(new / "js" / name, serve.joinpath("page", "js", name).read_bytes())
        for name in ("index.html", "static.css", "js/features.js", "js/model.js", "js/main.js"):
            write_bytes(new / name, serve.joinpath("static", name).read_bytes())
        for part in serve.joinpath("page", "vendor", "wavesurfer").iterdir():
            write_bytes(new / "vendor" / "wavesurfer" / part.name, part.read_bytes())
        style = resources.files("phoneme_moe.report.page").joinpath("page.css")
        workbench = serve.joinpath("page", "workbench.css")
        write_bytes(new / "report.css", style.read_bytes())
        write_bytes(new / "workbench.css", workbench.read_bytes())
        for file in files:
            write_bytes(new / "vendor" / "onnxruntime" / file.name, file.read_bytes())
        licence = serve.joinpath("static", "onnxruntime_LICENSE.txt")
        write_bytes(new / "vendor" / "onnxruntime" / "LICENSE.txt", licence.read_bytes())
    return folder


def _require_empty(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise InputError(f"{folder}: not empty; expected an empty or new folder")


def _check(run: LoadedRun) -> None:
    recognizer = run.recognizer
    spec = spec_of(run)
    problem = None
    if spec.tokens:
        problem = "classifies single tokens; expected one that recognises utterances"
    elif spec.encode is not None:
        problem = "has a pretrained encoder, which the page does not compute; expected log mel"
    elif recognizer.embedding_size is not None:
        problem = "takes an embedding of each recording, which the page does not have"
    elif spec.features.get("normalization", "utterance") != "utterance":
        problem = "normalises features by their range; expected normalization: utterance"
    if problem is not None:
        raise InputError(f"{run.name}: {problem}")


def _runtime_files(runtime: Path) -> list[Path]:
    folder = runtime / "dist" if (runtime / "dist").is_dir() else runtime
    files = [folder / name for name in _RUNTIME_FILES]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{missing}: not there; expected onnxruntime-web, which npm fetches: "
            f"npm install onnxruntime-web@{RUNTIME_VERSION}"
        )
    return files


def _settings(run: LoadedRun, front_end: FrontEnd) -> dict[str, Any]:
    """Everything that the page needs to know; it has no numbers of its own."""
    spec = spec_of(run)
    filters = mel_filters(front_end.sample_rate, front_end.n_fft, front_end.n_mels)
    return {
        "version": 1,
        "recipe": spec.recipe,
        "description": run.recipe.description,
        "corpus": spec.corpus,
        "phonemes": list(spec.phonemes.symbols),
        "experts": list(spec.experts),
        "colours": expert_colours(len(spec.experts)),
        "stack": spec.stack,
        "temperature": spec.decoding.temperature,
        "beam": spec.decoding.beam,
        "max_frames": BATCH_FRAMES,
        "front_end": {
            "sample_rate": front_end.sample_rate,
            "hop": front_end.hop,
            "n_fft": front_end.n_fft,
            "left": front_end.left,
            "n_mels": front_end.n_mels,
            "window": front_end.window.tolist(),
            "filters": [_sparse(column) for column in filters.T],
            "dynamic_range_db": DYNAMIC_RANGE_DB,
            "active_range_db": ACTIVE_RANGE_DB,
            "dc_share": DC_SHARE,
            "silent_peak": SILENT_PEAK,
        },
    }


def _sparse(column: np.ndarray) -> dict[str, Any]:
    """The part of a filter that is not zero, and its first bin."""
    used = np.flatnonzero(column)
    if not len(used):
        return {"first": 0, "values": []}
    first, last = int(used[0]), int(used[-1]) + 1
    return {"first": first, "values": column[first:last].tolist()}
