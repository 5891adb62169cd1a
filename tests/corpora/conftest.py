"""Where prepared corpora go in tests, and where the real ones are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepared corpora go here; outside any folder that a test uses as a source."""
    folder = tmp_path / "prepared"
    monkeypatch.setenv("PHONEME_MOE_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_corpora() -> Callable[[str], Path]:
    """Finds a real corpus, or skips the test."""
    root = Path(os.environ.get("PHONEME_MOE_CORPORA") or REPOSITORY.parent / "shared" / "corpora")

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no real corpus at {root / name} (set PHONEME_MOE_CORPORA)")
        return root / name

    return find


@pytest.fixture(scope="session")
def cmudict(real_corpora: Callable[[str], Path]) -> Path:
    """CMUdict beside the real corpora, or the test is skipped."""
    lexicon = real_corpora(".").resolve().parent / "lexicon" / "cmudict-en-us.dict"
    if not lexicon.is_file():
        pytest.skip(f"no CMUdict at {lexicon}")
    return lexicon
