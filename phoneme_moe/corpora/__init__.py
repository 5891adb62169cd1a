"""Speech corpora: published or the user's own, prepared as Lhotse cuts with phonemes.

Importing this package is fast: Lhotse and torch are imported when cuts are read or written.
"""

from phoneme_moe.corpora.prepare import ensure_corpus, is_prepared, prepare_corpus
from phoneme_moe.corpora.prepared import (
    FORMAT_VERSION,
    SPLITS,
    UNLABELLED,
    PreparedCorpus,
    data_root,
    load_corpus,
    prepared_names,
)
from phoneme_moe.corpora.registry import CORPORA, CorpusSource

__all__ = [
    "CORPORA",
    "FORMAT_VERSION",
    "SPLITS",
    "UNLABELLED",
    "CorpusSource",
    "PreparedCorpus",
    "data_root",
    "ensure_corpus",
    "is_prepared",
    "load_corpus",
    "prepare_corpus",
    "prepared_names",
]
