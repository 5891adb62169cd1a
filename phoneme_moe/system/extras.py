"""Packages that only some tasks need, and the command that installs them.

The command names the packages themselves, so that it works from a checkout and for a wheel, too:
an extra of ``phoneme-moe`` would be looked for in an index.
"""

from __future__ import annotations

EXTRAS = {
    "media": ("av",),
    "mic": ("sounddevice",),
    "onnx": ("onnx", "onnxruntime"),
    "praat": ("praat-parselmouth",),
    "pretrained": ("transformers",),
    "serve": ("fastapi", "uvicorn", "websockets", "python-multipart", "prometheus-client"),
}
"""Packages of the extras in pyproject.toml that an error message may ask for."""


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return " ".join(["pip install", *EXTRAS[extra]])
