"""Downloading of public corpora from their publishers.

The transfer is done by ``requests``, since it takes proxies and certificates from the environment
and gives the raw bytes of an answer; continuing an interrupted transfer is ours. ``pooch`` cannot
continue one, and ``lhotse.utils.resumable_download`` neither checks what comes nor keeps to a time
limit.
"""

from phoneme_moe.corpora.download.corpus import DownloadedPart, default_folder, download_corpus
from phoneme_moe.corpora.download.table import BY_HAND, DOWNLOADS

__all__ = ["BY_HAND", "DOWNLOADS", "DownloadedPart", "default_folder", "download_corpus"]
