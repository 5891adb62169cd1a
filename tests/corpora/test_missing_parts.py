"""Several corpora of which more than one is not prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoneme_moe.corpora import load_corpus
from phoneme_moe.errors import InputError


def test_all_corpora_that_are_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path))
    with pytest.raises(InputError) as caught:
        load_corpus("speechocean762+librispeech+clean-100")
    message = str(caught.value)
    assert "not prepared" in message
    assert str(tmp_path) in message
    assert "speechocean762, librispeech, clean-100" in message
    assert len(message.splitlines()) == 1
