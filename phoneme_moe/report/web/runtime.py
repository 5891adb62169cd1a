"""onnxruntime-web, which runs the model in the browser: an npm package that the user provides.

It is not part of this package, whose size it would double (its WebAssembly takes 14 MB).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from phoneme_moe.errors import ArgumentError

VERSION = "1.30.0"
"""The version that the page is tested with."""

VARIABLE = "PHONEME_MOE_ONNXRUNTIME_WEB"
"""Environment variable with the folder of the npm package."""

FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The smallest build: only the processor, WebAssembly."""

LICENCE = """\
MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""Licence of onnxruntime, whose npm package names it without its text."""


def find_runtime(folder: Path | None = None) -> Path:
    """The folder ``dist`` of an unpacked npm package onnxruntime-web.

    Args:
        folder: The package; by default that of the environment variable ``VARIABLE``, else
            ``node_modules/onnxruntime-web`` here.

    Raises:
        ArgumentError: There is none, it is of another version, or it lacks a file.
    """
    asked = folder or Path(os.environ.get(VARIABLE) or "node_modules/onnxruntime-web")
    try:
        package = json.loads((asked / "package.json").read_text(encoding="utf-8"))
        found = f"{package['name']} {package['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        found = "no npm package"
    expected = f"onnxruntime-web {VERSION}"
    if found == expected:
        missing = [name for name in FILES if not (asked / "dist" / name).is_file()]
        if not missing:
            return asked / "dist"
        found = f"no dist/{missing[0]}"
    raise ArgumentError(
        "runtime",
        f"{asked}: found {found}, expected {expected}, which runs the model in the browser: "
        f"npm install onnxruntime-web@{VERSION}",
    )


def copy_runtime(dist: Path, folder: Path) -> None:
    """Copies the files that the page needs into a new folder."""
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(dist / name, folder / name)
