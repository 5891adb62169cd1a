"""``phoneme-moe export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from phoneme_moe.cli.options import RunFolder


class Bits(StrEnum):
    """Bits of a weight."""

    EIGHT = "8"
    SIXTEEN = "16"
    THIRTY_TWO = "32"


def export(
    run: RunFolder,
    onnx: Annotated[
        Path | None, typer.Option(help="ONNX file to write; its name must end in .onnx.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the ONNX file's weights to 8 bits.")
    ] = False,
    run_out: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder to write, small and for use alone."),
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(help="Folder to write, a page that recognises phonemes in the browser."),
    ] = None,
    bits: Annotated[
        Bits | None, typer.Option(help="Bits of a weight with --run.", show_default="16")
    ] = None,
    note: Annotated[
        list[str] | None,
        typer.Option(help="With --run: a limit to name in its model card (repeatable)."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="With --web: folder of the npm package onnxruntime-web.",
            show_default="node_modules/onnxruntime-web",
        ),
    ] = None,
) -> None:
    """Export a run to hand it on: as an ONNX file, a small run folder or a web page.

    transcribe runs the file without torch. The folder serves all commands that
    do not go on training: without checkpoints and logs, with weights in fewer
    bits and a model card (MODEL_CARD.md). The page needs a web server, but no
    program on it.
    """
    from phoneme_moe.errors import InputError
    from phoneme_moe.run_folder import load_run
    from phoneme_moe.system.terminal import print_line

    if [onnx, run_out, web].count(None) != 2:
        raise InputError("export: expected one of --onnx, --run and --web")
    if run_out is not None and int8:
        raise InputError("--int8: expected --onnx or --web with it; --run takes --bits 8")
    if run_out is None and (bits is not None or note):
        raise InputError(f"{'--bits' if bits else '--note'}: expected --run with it")
    if web is None and runtime is not None:
        raise InputError("--runtime: expected --web with it")
    if onnx is not None:
        from phoneme_moe.transcription.export import export_onnx

        if onnx.suffix != ".onnx":
            raise InputError(f"--onnx: found {onnx}, expected a name that ends in .onnx")
        for path in export_onnx(load_run(run), onnx, int8):
            print_line(path)
    if run_out is not None:
        from phoneme_moe.evaluation.export_run import export_run

        number = cast("Literal[8, 16, 32]", int(bits or Bits.SIXTEEN))
        export_run(load_run(run), run_out, number, note or ())
        print_line(run_out)
    if web is not None:
        from phoneme_moe.report.web.export import export_web

        print_line(export_web(load_run(run), web, int8, runtime))
