"""``phoneme-moe corpora download``: public corpora from their publishers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from phoneme_moe.cli.completion import download_names
from phoneme_moe.system.terminal import print_line


def download(
    name: Annotated[
        str,
        typer.Argument(
            help="mini_librispeech, librispeech, an4, fsdd or speechocean762.",
            autocompletion=download_names,
        ),
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="A part of it, such as train-clean-100; may be repeated.",
            show_default="all, except of librispeech",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to download to.",
            show_default="downloads/NAME beside corpora",
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Folder with the archives, instead of the publisher's servers."
        ),
    ] = None,
) -> None:
    """Download a public corpus from its publisher; goes on where an earlier call ended.

    Archives are compared with their published checksums, unpacked and removed.
    """
    from phoneme_moe.corpora.download import DOWNLOADS, default_folder, download_corpus

    folder = to or default_folder(name)
    for done in download_corpus(name, part or (), folder, mirror=mirror):
        state = "already downloaded" if done.existed else "downloaded"
        print_line(f"{done.name}: {state} to {done.folder}")
        if not done.verified:
            print_line(f"{done.name}: no checksum is published; SHA-256 {done.sha256}")
    corpus = DOWNLOADS[name]
    source = shlex.quote(str(folder / corpus.source))
    lexicon = " --lexicon FILE --unknown-words g2p" if corpus.has_words else ""
    print_line(f"next: phoneme-moe corpora prepare {corpus.prepare} --from {source}{lexicon}")
