"""``phoneme-moe export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.options import RunFolder


def export(
    run: RunFolder,
    onnx: Annotated[Path, typer.Option(help="File to write; its name must end in .onnx.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise weights to 8 bits.")] = False,
) -> None:
    """Export a run as one ONNX file, which transcribe runs without torch."""
    from phoneme_moe.errors import InputError
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.terminal import print_line
    from phoneme_moe.transcription.export import export_onnx

    if onnx.suffix != ".onnx":
        raise InputError(f"--onnx: found {onnx}, expected a name that ends in .onnx")
    export_onnx(load_run(run), onnx, int8)
    print_line(onnx)
