"""A real browser without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@contextmanager
def headless_browser(switches: Sequence[str] = ()) -> Iterator[Any]:
    """Starts Chromium. Not every machine has one, and pip cannot bring it; CI installs it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("PHONEME_MOE_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        # A browser is a system package: whoever has none can still run all other tests. In CI
        # nothing skips here, as .ci/run installs one first.
        pytest.skip(f"no browser: neither PHONEME_MOE_CHROMIUM nor {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=[*SWITCHES, *switches])
        yield started
        started.close()
