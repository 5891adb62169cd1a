from __future__ import annotations

from collections import Counter
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from phoneme_moe.errors import InputError
from phoneme_moe_reproductions import vowels as module
from phoneme_moe_reproductions.vowels import VOWELS, peterson_barney


def test_the_table_is_the_published_one() -> None:
    pytest.importorskip("parselmouth", reason="needs praat-parselmouth (extra praat)")
    vowels = peterson_barney()
    assert len(vowels) == 1_520
    speakers = {group: set(vowels.speaker[vowels.group == group]) for group in "mwc"}
    assert {group: len(members) for group, members in speakers.items()} == {
        "m": 33,
        "w": 28,
        "c": 15,
    }
    # Ten vowels, twice, by everybody.
    counts = Counter(zip(vowels.speaker.tolist(), vowels.vowel.tolist(), strict=True))
    assert set(counts.values()) == {2}
    assert len(counts) == 76 * len(VOWELS)
    # The first man's first [i], in kHz: 160, 240, 2280, 2850 Hz.
    assert vowels.formants[0].tolist() == [0.16, 0.24, 2.28, 2.85]
    assert VOWELS[vowels.vowel[0]] == "iy"
    # Published means of men: [i] 270 and 2290 Hz, [a] 730 and 1090 Hz (within 2 %).
    men = vowels.where(vowels.group == "m")
    for vowel, expected in (("iy", (0.27, 2.29)), ("aa", (0.73, 1.09))):
        mean = men.formants[men.vowel == VOWELS.index(vowel)].mean(axis=0)[1:3]
        assert np.allclose(mean, expected, rtol=0.02)


def test_without_praat_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(module, "find_spec", missing)
    peterson_barney.cache_clear()
    with pytest.raises(InputError, match=r"pip install praat-parselmouth"):
        peterson_barney()
