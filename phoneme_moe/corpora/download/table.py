"""Where the public corpora are, how large their archives are, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_OPENSLR = (
    "https://www.openslr.org/resources",
    "https://us.openslr.org/resources",
    "https://openslr.trmal.net/resources",
    "https://openslr.elda.org/resources",
    "https://openslr.magicdatatech.com/resources",
)
"""The publisher, and the mirrors that it names."""


@dataclass(frozen=True)
class Archive:
    """An archive, which contains one folder of a corpus.

    Attributes:
        name: Its file name.
        urls: Where it is; the publisher first, then mirrors.
        folder: Folder in the archive, and below the target folder, that has the speech. Files
            beside it in the archive (``SPEAKERS.TXT``) go beside it.
        size: In bytes.
        checksum: ``sha256:...`` or ``md5:...``; None where nobody published one.
        exact: Whether the size is known to the byte, else about.
        redirects: Hosts that the servers redirect to, besides their own.
    """

    name: str
    urls: tuple[str, ...]
    folder: str
    size: int
    checksum: str | None = None
    exact: bool = True
    redirects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Download:
    """A corpus that can be downloaded.

    Attributes:
        parts: Archives by the name of the part.
        prepare: Name by which the corpus is prepared.
        source: Folder to prepare, below the target folder.
        has_words: Whether its labels are words, so that a lexicon is needed.
        all_by_default: Whether all parts are downloaded unless some are named.
    """

    parts: Mapping[str, Archive]
    prepare: str
    source: str
    has_words: bool = False
    all_by_default: bool = True


def _librispeech(resource: int, part: str, size: int, checksum: str) -> tuple[str, Archive]:
    name = f"{part}.tar.gz"
    return part, Archive(
        name=name,
        urls=tuple(f"{server}/{resource}/{name}" for server in _OPENSLR),
        folder=f"LibriSpeech/{part}",
        size=size,
        checksum=checksum,
    )


_MINI_LIBRISPEECH = Download(
    # md5sum.txt of OpenSLR 31 (also in PaddlePaddle's DeepSpeech); sizes: Kaldi's recipe.
    parts=dict(
        [
            _librispeech(31, "train-clean-5", 332_954_390, "md5:5df7d4e78065366204ca6845bb08f490"),
            _librispeech(31, "dev-clean-2", 126_046_265, "md5:6d7ab67ac6a1d2c993d050e16d61080d"),
        ]
    ),
    prepare="librispeech",
    source="LibriSpeech",
    has_words=True,
)
_LIBRISPEECH = Download(
    # torchaudio.datasets.librispeech; sizes: tensorflow_datasets, with the same checksums.
    parts=dict(
        _librispeech(12, part, size, f"sha256:{checksum}")
        for part, size, checksum in (
            (
                "train-clean-100",
                6_387_309_499,
                "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
            ),
            (
                "train-clean-360",
                23_049_477_885,
                "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
            ),
            (
                "train-other-500",
                30_593_501_606,
                "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
            ),
            (
                "dev-clean",
                337_926_286,
                "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
            ),
            (
                "dev-other",
                314_305_928,
                "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
            ),
            (
                "test-clean",
                346_663_984,
                "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
            ),
            (
                "test-other",
                328_757_843,
                "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
            ),
        )
    ),
    prepare="librispeech",
    source="LibriSpeech",
    has_words=True,
    all_by_default=False,
)
_AN4 = Download(
    parts={
        "an4": Archive(
            name="an4_sphere.tar.gz",
            # The first one is the copy of NVIDIA NeMo, since CMU's server has no certificate. A
            # public training script of NeMo pins its checksum; CMU publishes none.
            urls=(
                "https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz",
                "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
            ),
            folder="an4",
            size=64_000_000,
            exact=False,
            checksum="sha256:a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12",
        )
    },
    prepare="an4",
    source="an4",
)
_FSDD = Download(
    parts={
        "fsdd": Archive(
            name="free-spoken-digit-dataset-1.0.10.zip",
            # Size and checksum of the tag as others recorded them; GitHub promises that archives
            # of a tag do not change.
            urls=(
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
            ),
            folder="free-spoken-digit-dataset-1.0.10",
            size=16_419_872,
            checksum="sha256:c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b",
            redirects=("codeload.github.com",),
        )
    },
    prepare="fsdd",
    source="free-spoken-digit-dataset-1.0.10",
)
_SPEECHOCEAN762 = Download(
    parts={
        "speechocean762": Archive(
            name="speechocean762.tar.gz",
            urls=tuple(f"{server}/101/speechocean762.tar.gz" for server in _OPENSLR),
            folder="speechocean762",
            # From the publishers' recipe in Kaldi; nobody published a checksum.
            size=520_810_923,
        )
    },
    prepare="speechocean762",
    source="speechocean762",
)

DOWNLOADS: Mapping[str, Download] = {
    "mini_librispeech": _MINI_LIBRISPEECH,
    "librispeech": _LIBRISPEECH,
    "an4": _AN4,
    "fsdd": _FSDD,
    "speechocean762": _SPEECHOCEAN762,
}

BY_HAND: Mapping[str, str] = {
    "commonvoice": "Mozilla asks for your consent, so download a language in a browser from "
    "https://datacollective.mozillafoundation.org, unpack it, and name the folder that has "
    "validated.tsv and clips/: phoneme-moe corpora prepare commonvoice --from DIR --lexicon FILE"
}
"""What to do for a corpus that no program may download."""
