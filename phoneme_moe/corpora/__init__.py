"""Speech corpora, published or provided by the user, prepared as Lhotse cuts with phonemes.

Lhotse and torch are imported only when cuts are read or written.
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
