"""Registry of the corpora that can be prepared by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phoneme_moe.corpora.notes import Notes
from phoneme_moe.extensions import Registry

if TYPE_CHECKING:
    from phoneme_moe.corpora.manifest import Splits


@dataclass(frozen=True)
class Preparation:
    """Arguments of a preparation.

    Attributes:
        folder: Folder in which the corpus is built; synthesised audio goes to ``folder/audio``.
        source: Folder or file with the user's data; None for a corpus with synthesised audio.
        lexicon: Pronunciation lexicon, for a corpus with words as text.
        unknown_words: What is done about words outside the lexicon: one of ``UNKNOWN_WORDS``.
        tier: Tier of TextGrids with the labels.
        symbols: Notation that labels are converted to; None for their own.
        audio: Folder of the recordings of a manifest, besides that of the manifest.
        progress: Whether to show a progress bar.
        notes: Receives what is left out or changed.
    """

    folder: Path
    source: Path | None = None
    lexicon: Path | None = None
    unknown_words: str = "refuse"
    tier: str | None = None
    symbols: str | None = None
    audio: Path | None = None
    progress: bool = False
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True)
class CorpusSource:
    """A corpus that can be prepared by name.

    Attributes:
        name: Name of the corpus.
        description: Description in one line.
        licence: Licence and citation.
        needs_source: Whether the user must provide the data.
        module: Module that prepares the corpus, imported on demand.
        options: The options of a preparation that the corpus has a use for.
        published: Whether its publishers name the speakers, so that a name is one person in all
            copies and parts of it; not for recordings of the user.
    """

    name: str
    description: str
    licence: str
    needs_source: bool
    module: str
    options: tuple[str, ...] = ()
    published: bool = True

    def prepare(self, job: Preparation) -> Splits:
        """Creates the cuts of every split, and the audio if the corpus is synthesised."""
        function = import_module(self.module).prepare
        return cast("Callable[[Preparation], Splits]", function)(job)

    def settings(self, job: Preparation) -> dict[str, Any]:
        """All settings that determine the result, apart from the folder."""
        function = import_module(self.module).settings
        return cast("Callable[[Preparation], dict[str, Any]]", function)(job)


_SOURCES = (
    CorpusSource(
        name="announcers",
        description="Six synthetic announcers (4 male, 2 female) speak Japanese words with b, d, g",
        licence="our word list: Apache-2.0; voices: eSpeak NG inside Praat (GPL-3), run here",
        needs_source=False,
        module="phoneme_moe.corpora.announcers.corpus",
    ),
    CorpusSource(
        name="fsdd",
        description="Free Spoken Digit Dataset: six men say the English digits, 8 kHz",
        licence="CC BY-SA 4.0; Zohar Jackson and contributors, Free Spoken Digit Dataset",
        needs_source=True,
        module="phoneme_moe.corpora.fsdd",
    ),
    CorpusSource(
        name="speechocean762",
        description="English sentences read by Mandarin speakers, half of them children, 16 kHz",
        licence="free for any use (publishers' words); cite Zhang et al. 2021, arXiv 2104.01378",
        needs_source=True,
        module="phoneme_moe.corpora.speechocean762",
    ),
    CorpusSource(
        name="librispeech",
        description="LibriSpeech, one part or several: audiobooks read by volunteers, 16 kHz",
        licence="CC BY 4.0; Panayotov et al. 2015, LibriVox; OpenSLR 12 and 31",
        needs_source=True,
        module="phoneme_moe.corpora.librispeech",
        options=("lexicon", "unknown_words"),
    ),
    CorpusSource(
        name="an4",
        description="CMU AN4: 84 US speakers say letters, digits and names, 16 kHz",
        licence="free for any use (publishers' words); cite Acero 1993, Carnegie Mellon University",
        needs_source=True,
        module="phoneme_moe.corpora.an4",
        options=("lexicon", "unknown_words"),
    ),
    CorpusSource(
        name="commonvoice",
        description="Mozilla Common Voice, one language: sentences read by volunteers, MP3",
        licence="CC0 1.0; cite Ardila et al. 2020, arXiv 1912.06670",
        needs_source=True,
        module="phoneme_moe.corpora.commonvoice",
        options=("lexicon", "unknown_words"),
    ),
    CorpusSource(
        name="folder",
        description="Your own recordings, each with a TextGrid, .lab or .txt beside it",
        licence="yours",
        needs_source=True,
        module="phoneme_moe.corpora.folder",
        options=("lexicon", "unknown_words", "tier", "symbols"),
        published=False,
    ),
    CorpusSource(
        name="kaldi",
        description="Your own recordings, as a Kaldi data folder (text in phonemes, or a lexicon)",
        licence="yours",
        needs_source=True,
        module="phoneme_moe.corpora.kaldi",
        options=("lexicon", "unknown_words"),
        published=False,
    ),
    CorpusSource(
        name="lhotse",
        description="Any Lhotse CutSet whose supervisions have phonemes (or words: a lexicon)",
        licence="yours",
        needs_source=True,
        module="phoneme_moe.corpora.cutset",
        options=("audio", "lexicon", "unknown_words"),
        published=False,
    ),
)

CORPORA = Registry(
    "phoneme_moe.corpora", CorpusSource, {source.name: source for source in _SOURCES}
)
"""Corpora by name; other packages add to them."""
