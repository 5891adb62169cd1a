"""Export of a run as a static web page: a browser records, recognises and shows phonemes.

``features.js``, ``model.js`` and ``decode.js`` do in the browser what ``features.log_mel_numpy``,
``transcription.windowing`` and ``transcription.pieces`` do here; ``model.json`` has all settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from phoneme_moe.audio.mixing import DC_SHARE
from phoneme_moe.audio.waveform import SILENT_PEAK
from phoneme_moe.decoding.decoder import Decoding
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.features import encoder_windows
from phoneme_moe.features.log_mel_numpy import ACTIVE_RANGE_DB, DYNAMIC_RANGE_DB, FrontEnd
from phoneme_moe.files.atomic import atomic_folder, is_empty
from phoneme_moe.files.writing import write_json_sections, write_text
from phoneme_moe.report.page.template import render_part, style
from phoneme_moe.report.web.runtime import LICENCE, VERSION, copy_runtime, find_runtime
from phoneme_moe.run_folder import LoadedRun
from phoneme_moe.transcription.export import export_onnx
from phoneme_moe.transcription.model_spec import ModelSpec
from phoneme_moe.transcription.pieces import PIECE_SECONDS
from phoneme_moe.transcription.run_engine import spec_of
from phoneme_moe.transcription.segment_times import MAX_DISTANCE_SECONDS
from phoneme_moe.transcription.windowing import BATCH_FRAMES, CONTEXT_SECONDS, WINDOW_SECONDS

SCRIPTS = (
    "page.js",
    "worker.js",
    "features.js",
    "model.js",
    "decode.js",
    "rows.js",
    "sound.js",
    "timeline.js",
)


def export_web(
    run: LoadedRun, folder: Path, int8: bool = False, runtime: Path | None = None
) -> Path:
    """Writes a folder for any web server, atomically.

    ``model.onnx`` in it is an exported model like any other, except that it decodes greedily; a
    pretrained encoder is ``model.encoder.onnx`` beside it.

    Args:
        run: The run.
        folder: The new folder, which must be missing or empty.
        int8: Whether to quantise the weights of matrix products to 8 bits.
        runtime: Folder of the npm package onnxruntime-web (``runtime.find_runtime``).

    Returns:
        The folder.

    Raises:
        InputError: The folder is not empty, onnxruntime-web is missing, the run classifies tokens
            or takes embeddings, or it cannot be exported.
    """
    _check_empty(folder)
    spec = spec_of(run)
    _check_supported(run, spec)
    dist = find_runtime(runtime)
    greedy = replace(run, decoding=Decoding(temperature=run.decoding.temperature))
    room = resources.files("phoneme_moe.report.web")
    with atomic_folder(folder, _check_empty) as new:
        export_onnx(greedy, new / "model.onnx", int8)
        write_json_sections(new / "model.json", model_settings(spec))
        write_text(new / "index.html", _page(run, spec))
        write_text(new / "style.css", style(["web/web.css"], len(spec.experts)))
        for name in SCRIPTS:
            write_text(new / name, room.joinpath(name).read_text(encoding="utf-8"))
        copy_runtime(dist, new / "onnxruntime")
        write_text(new / "LICENSES.txt", _licences())
    return folder


def model_settings(spec: ModelSpec) -> dict[str, Any]:
    """Everything that the scripts must know about a model."""
    step = spec.feature_seconds * spec.stack
    encodes = spec.encode is not None
    # As in transcription.windowing: an encoder sees all of its window.
    sees_all = spec.context is None or encodes
    window = encoder_windows.WINDOW_SECONDS if encodes else WINDOW_SECONDS
    return {
        "sample_rate": spec.features["sample_rate"],
        "features": None if encodes else _log_mel(spec.front_end()),
        "encoder": _encoder() if encodes else None,
        "phonemes": list(spec.phonemes.symbols),
        "experts": list(spec.experts),
        "temperature": spec.decoding.temperature,
        "stack": spec.stack,
        "frame_seconds": step,
        "batch_frames": BATCH_FRAMES,
        "window_frames": round(window / step),
        "context_frames": round(CONTEXT_SECONDS / step) if sees_all else spec.context,
        "piece_frames": round(PIECE_SECONDS / step),
        "most_distance": MAX_DISTANCE_SECONDS,
        "silent_peak": SILENT_PEAK,
        "offset_share": DC_SHARE,
    }


def _log_mel(front_end: FrontEnd) -> dict[str, Any]:
    return {
        "hop": front_end.hop,
        "n_fft": front_end.n_fft,
        "left": front_end.left,
        "normalization": front_end.normalization,
        "dynamic_range_db": DYNAMIC_RANGE_DB,
        "active_range_db": ACTIVE_RANGE_DB,
        "window": _decimals(front_end.window),
        "filters": _bands(front_end),
    }


def _encoder() -> dict[str, Any]:
    rate = encoder_windows.SAMPLE_RATE
    return {
        "hop": encoder_windows.HOP,
        "window_samples": round(encoder_windows.WINDOW_SECONDS * rate),
        "margin_samples": round(encoder_windows.CONTEXT_SECONDS * rate),
    }


def _bands(front_end: FrontEnd) -> list[dict[str, Any]]:
    """The bins of each mel band that have weight: the first one, and the weights from there on."""
    bands = []
    for weights in front_end.filters.T:
        bins = np.flatnonzero(weights)
        first, last = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 0)
        bands.append({"first": first, "weights": _decimals(weights[first:last])})
    return bands


def _decimals(values: Sequence[np.float32] | np.ndarray) -> list[float]:
    """The shortest decimals that are the same 32-bit numbers."""
    return [float(str(value)) for value in values]


def _page(run: LoadedRun, spec: ModelSpec) -> str:
    decoding = "This page decodes greedily"
    if spec.decoding.beam_for(None) is None:
        decoding += ", as phoneme-moe transcribe does with this run."
    else:
        decoding += (
            f", as phoneme-moe transcribe --beam 0. By default the run searches with a beam of "
            f"{spec.decoding.beam}, which makes fewer errors."
        )
    return render_part(
        "web/index.html.jinja",
        name=str(run.name),
        experts=spec.experts,
        frame_ms=round(1000 * spec.feature_seconds * spec.stack),
        most_distance=MAX_DISTANCE_SECONDS,
        decoding=decoding,
        card=model_card(run).lines(),
        runtime=VERSION,
    )


def _licences() -> str:
    return (
        "The scripts and the style of this page are part of phoneme_moe, Apache License 2.0\n"
        "(https://www.apache.org/licenses/LICENSE-2.0).\n\n"
        f"onnxruntime/ is from the npm package onnxruntime-web {VERSION}; what it contains of\n"
        "others is listed in ThirdPartyNotices.txt of https://github.com/microsoft/onnxruntime.\n\n"
        f"{LICENCE}"
    )


def _check_empty(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and is_empty(folder)):
        raise ArgumentError("web", f"{folder}: not empty; expected an empty or new folder")


def _check_supported(run: LoadedRun, spec: ModelSpec) -> None:
    problem = None
    if spec.tokens:
        problem = "task.kind: found classify, but the page shows utterances; expected recognize"
    elif spec.embedding_size is not None:
        problem = (
            "the routers take an embedding of each recording, which a browser does not have; "
            "expected a run without"
        )
    if problem is not None:
        raise InputError(f"{run.name}: {problem}")
