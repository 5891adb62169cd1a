"""Shards of a prepared corpus: its training split in a few large files that are read in order.

The format is Lhotse Shar (``CutSet.from_shar(in_dir=...)``): ``cuts.000000.jsonl.gz``, a cut in
each line, and beside it ``recording.000000.tar`` with their audio as FLAC. Every shard is a random
part of the split, so that a few of them at a time are as good as all of it in random order.
Lhotse's reader would run commands that a manifest names; this one validates manifests as any other
(``cut_document``).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from phoneme_moe.corpora.cut_audio import load_cut
from phoneme_moe.corpora.joined import JoinedCorpus, renamed
from phoneme_moe.corpora.json_lines import read_json_lines
from phoneme_moe.corpora.prepared import PreparedCorpus, cuts_file
from phoneme_moe.corpora.shard_manifest import read_shard_cuts
from phoneme_moe.errors import ArgumentError, InputError
from phoneme_moe.files.atomic import atomic_folder
from phoneme_moe.files.documents import Document
from phoneme_moe.files.writing import write_json
from phoneme_moe.system.progress import track

if TYPE_CHECKING:
    from lhotse.cut import Cut

SPLIT = "train"
"""The split that is read shard by shard; the others are small."""

DESCRIPTION = "shards.json"
MOST_SHARDS = 900
"""A file of each is open at a time, of which systems allow about a thousand."""

MAX_AUDIO = 1 << 30
"""Most bytes of the audio of an utterance."""


class ShardsDocument(Document):
    """``shards.json`` of a corpus."""

    max_bytes: ClassVar[int] = 1_000_000

    version: int
    utterances: list[int]
    """Number of utterances in each shard."""
    cuts: str
    """SHA-256 of the manifest that the shards were made from."""


@dataclass(frozen=True)
class Shard:
    """A random part of the training split of a corpus.

    Attributes:
        corpus: The corpus.
        number: Number of the part, from 0.
        is_joined: Whether the corpus is one of several, whose names tell it apart.
    """

    corpus: PreparedCorpus
    number: int
    is_joined: bool = False

    @property
    def cuts_file(self) -> Path:
        """The manifest."""
        return shards_folder(self.corpus) / SPLIT / f"cuts.{self.number:06d}.jsonl.gz"

    @property
    def audio_file(self) -> Path:
        """The archive of the audio."""
        return shards_folder(self.corpus) / SPLIT / f"recording.{self.number:06d}.tar"

    def read(self, with_audio: bool = True) -> Iterator[Cut]:
        """Reads the utterances in the order of the files; as ``PreparedCorpus.iter_cuts``.

        Args:
            with_audio: Whether recordings are in memory; otherwise cuts have no audio to load.

        Raises:
            InputError: A file is missing or damaged, or the two do not belong together.
        """
        audio = _read_audio(self.audio_file) if with_audio else None
        for document, where in read_shard_cuts(self.cuts_file):
            self.corpus.check_labels(document, where)
            data = b""
            if audio is not None:
                name, data = next(audio, ("", b""))
                if name != document.id:
                    found = repr(name) if name else "its end"
                    raise InputError(f"{self.audio_file}: found {found}, expected audio of {where}")
            cut = document.to_cut_in_memory(data)
            yield renamed(self.corpus, cut) if self.is_joined else cut


def shards_folder(corpus: PreparedCorpus) -> Path:
    """Folder of the shards of a corpus: ``shards.json``, and the shards in ``train``."""
    return corpus.folder / "shards"


def manifest_hash(folder: Path) -> str:
    """SHA-256 of the manifest that the shards in a corpus folder are made from.

    Raises:
        InputError: It cannot be read.
    """
    file = cuts_file(folder, SPLIT)
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def find_shards(corpus: PreparedCorpus) -> list[Shard]:
    """The shards of a corpus, or of all that are joined.

    Raises:
        InputError: There are none, some are missing, or a corpus was prepared again since.
    """
    if isinstance(corpus, JoinedCorpus):
        parts = [shard for part in corpus.parts for shard in find_shards(part)]
        return [Shard(shard.corpus, shard.number, is_joined=True) for shard in parts]
    again = f"run: phoneme-moe corpora shard {corpus.name} --shards N"
    file = shards_folder(corpus) / DESCRIPTION
    if not file.is_file():
        raise InputError(f"corpus {corpus.name!r} has no shards: no {file}; {again}")
    document = ShardsDocument.read(file)
    if document.cuts != manifest_hash(corpus.folder):
        raise InputError(f"{file}: corpus {corpus.name!r} was prepared again since; {again}")
    shards = [Shard(corpus, number) for number in range(len(document.utterances))]
    for shard in shards:
        for part in (shard.cuts_file, shard.audio_file):
            if not part.is_file():
                raise InputError(f"{part}: no such file; {again}")
    return shards


def write_shards(corpus: PreparedCorpus, number: int) -> Path:
    """Writes the training split of a corpus as shards, in place of earlier ones.

    The utterances of a shard are in random order. One recording at a time is in memory, and the
    cuts of one shard.

    Args:
        corpus: A corpus that is not joined.
        number: Number of shards.

    Returns:
        Their folder, which is complete or not there at all.

    Raises:
        ArgumentError: There are fewer utterances than shards, or too many files would be open.
        InputError: A recording cannot be read.
    """
    total = int(corpus.description["splits"][SPLIT]["utterances"])
    if not 1 <= number <= min(total, MOST_SHARDS):
        raise ArgumentError(
            "shards",
            f"found {number}, expected 1 to {min(total, MOST_SHARDS)} ({corpus.name} has {total:,} "
            f"utterances in {SPLIT})",
        )
    generator = np.random.default_rng(0)
    with atomic_folder(shards_folder(corpus), lambda _: None) as folder:
        (folder / SPLIT).mkdir()
        parts = _divide(cuts_file(corpus.folder, SPLIT), total, number, folder, generator)
        bar = track(range(total), "Writing shards")
        counts = []
        for index, part in enumerate(parts):
            cuts = list(corpus.read_cuts(part))
            part.unlink()
            order = [cuts[i] for i in generator.permutation(len(cuts))]
            _write_shard(Shard(corpus, index), zip(order, bar, strict=False), folder / SPLIT)
            counts.append(len(cuts))
        for _ in bar:  # to its end, which removes it
            pass
        document = ShardsDocument(version=1, utterances=counts, cuts=manifest_hash(corpus.folder))
        write_json(folder / DESCRIPTION, document.model_dump())
    return shards_folder(corpus)


def _divide(
    manifest: Path, total: int, number: int, folder: Path, generator: np.random.Generator
) -> list[Path]:
    """Divides the lines of a manifest by chance into equal files in a folder."""
    places = generator.permutation(np.arange(total) % number)
    parts = [folder / f"{index}.jsonl" for index in range(number)]
    with ExitStack() as files:
        open_parts = [files.enter_context(part.open("wb")) for part in parts]
        for (line, _), place in zip(read_json_lines(manifest), places.tolist(), strict=True):
            open_parts[place].write(line)
    return parts


def _write_shard(shard: Shard, cuts: Iterable[tuple[Cut, object]], folder: Path) -> None:
    """Writes the two files of a shard; what a cut has of its recording becomes a recording."""
    import soundfile
    from lhotse.serialization import SequentialJsonlWriter
    from lhotse.shar.utils import to_shar_placeholder
    from lhotse.utils import fastcopy

    with (
        SequentialJsonlWriter(folder / shard.cuts_file.name) as manifest,
        tarfile.TarFile(folder / shard.audio_file.name, "w") as archive,
    ):
        for cut, _ in cuts:
            rate = cut.sampling_rate
            samples = np.rint(load_cut(cut, rate) * 32768).clip(-32768, 32767).astype(np.int16)
            audio = io.BytesIO()
            # Integers, since libsndfile scales other numbers by 32767, and reads them by 32768.
            soundfile.write(audio, samples, rate, format="FLAC")
            recording = fastcopy(
                to_shar_placeholder(cut.recording, cut),
                num_samples=len(samples),
                duration=len(samples) / rate,
                channel_ids=[0],
            )
            recording.sources[0].channels = [0]
            _add_file(archive, f"{cut.id}.flac", audio.getvalue())
            _add_file(archive, f"{cut.id}.json", json.dumps(recording.to_dict()).encode())
            manifest.write(
                fastcopy(
                    cut,
                    start=0.0,
                    duration=recording.duration,
                    channel=0,
                    recording=recording,
                    supervisions=[fastcopy(cut.supervisions[0], channel=0)],
                )
            )


def _add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _read_audio(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Identifiers of utterances with the content of their audio files, in order."""
    try:
        with tarfile.open(archive, mode="r|") as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    continue
                if not member.isreg() or member.size > MAX_AUDIO:
                    raise InputError(
                        f"{archive}: found {member.name!r} of {member.size:,} bytes, expected a "
                        f"file of at most {MAX_AUDIO:,}"
                    )
                file = tar.extractfile(member)
                assert file is not None
                yield member.name.removesuffix(".flac"), file.read()
    except (OSError, tarfile.TarError) as error:
        problem = getattr(error, "strerror", None) or error
        raise InputError(f"{archive}: cannot be read ({problem})") from error
