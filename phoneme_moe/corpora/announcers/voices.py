"""The six announcers, and the mapping of eSpeak labels to phonemes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from phoneme_moe.errors import InputError
from phoneme_moe.system.extras import install_command

SYNTHESIS_VERSION = 1
"""Part of the settings of the corpus; to be incremented when a change here affects the audio."""

# Maps eSpeak labels to romanised phonemes. Length is not marked: eSpeak labels long vowels like
# short ones, and the two halves of a geminate are merged. Palatalised consonants are mapped to the
# consonant and y, so that /b, d, g/ are labelled as such. N is the moraic nasal, if it is not m or
# n.
FOLD = {
    "ä": "a", "i": "i", "ɯᵝ": "u", "e̞": "e", "o̞": "o",
    "b": "b", "d": "d", "ɡ": "g", "p": "p", "t": "t", "k": "k",
    "s": "s", "ɕ": "sh", "z": "z", "dʑ": "j", "ts": "ts", "tɕ": "ch",
    "h": "h", "ç": "h", "ɸ": "f", "m": "m", "n": "n",
    "ɴ": "N", "ŋ": "N", "ũ": "N",
    "ɽ": "r", "r": "r", "w": "w", "j": "y", "ʲ": "y",
}  # fmt: skip


@dataclass(frozen=True)
class Announcer:
    """A synthetic speaker.

    Attributes:
        name: Name of the speaker in the corpus.
        sex: ``"M"`` or ``"F"``.
        voice: The eSpeak voice. The mean log mel spectra of the same phonemes differ by 1.1 or more
            (root mean square) between any two voices.
        pitch: Factor on the pitch of the voice.
        words_per_minute: Mean speaking rate.
    """

    name: str
    sex: str
    voice: str
    pitch: float
    words_per_minute: int


ANNOUNCERS = (
    Announcer("ann_m1", "M", "Male2", 1.0, 170),
    Announcer("ann_m2", "M", "Male7", 1.5, 185),
    Announcer("ann_m3", "M", "Boris", 1.25, 175),
    Announcer("ann_m4", "M", "Andy", 0.85, 165),
    Announcer("ann_f1", "F", "Female1", 1.05, 180),
    Announcer("ann_f2", "F", "Female3", 1.2, 190),
)


def require_praat() -> str:
    """Returns the version of Praat.

    Raises:
        InputError: ``praat-parselmouth`` is not installed.
    """
    if find_spec("parselmouth") is None:
        raise InputError(
            "the announcers are synthesised by Praat, which is not installed: "
            f"{install_command('praat')}"
        )
    import parselmouth

    return str(parselmouth.PRAAT_VERSION)


def fold_labels(
    labels: Sequence[tuple[str, float, float]], word: str
) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    """Converts the labels of the synthesiser to phonemes and times.

    Args:
        labels: Label, start and end in seconds of each sound; the empty label is silence.
        word: The word, for error messages.

    Raises:
        InputError: A label is not in ``FOLD``, for example a letter that eSpeak spells out.
    """
    phonemes: list[str] = []
    times: list[tuple[float, float]] = []
    for label, start, end in labels:
        if not label:
            continue
        if label not in FOLD:
            raise InputError(
                f"the word {word!r}: found eSpeak label {label!r}, which has no phoneme"
            )
        if phonemes and phonemes[-1] == FOLD[label] and times[-1][1] == start:
            times[-1] = (times[-1][0], end)
        else:
            phonemes.append(FOLD[label])
            times.append((start, end))
    return tuple(phonemes), tuple(times)
