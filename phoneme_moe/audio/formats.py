"""What an audio file is, by its first bytes; file names only help to look for files."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 512
"""Number of bytes at the start of a file that ``sniff`` needs."""

_SUFFIXES = """
.wav .flac .mp3 .ogg .opus .oga .aiff .aif .aifc .au .snd .sph .nist .w64 .rf64 .caf .voc
.m4a .m4b .mp4 .m4v .mov .3gp .3g2 .aac .adts .amr .awb .wma .wmv .asf .webm .mka .mkv .avi
.flv .ts .mts .mpg .mpeg .ac3 .wv .ape .tta .spx .mp2 .ra .rm
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes of audio and video files, in lower case."""


@dataclass(frozen=True)
class Format:
    """A format of audio files.

    Attributes:
        name: Its name for messages.
        demuxer: The demuxer of FFmpeg that reads it.
        by_sndfile: Whether libsndfile reads it, at least with most encodings.
    """

    name: str
    demuxer: str
    by_sndfile: bool = False


_WAV = Format("WAV", "wav", by_sndfile=True)
_MPEG_LAYERS = {1: "MP3", 2: "MP2"}
"""Names by the bits of the header; layer I is not used, and looks like UTF-16 text."""

_PHOTOS = (b"avif", b"avis", b"crx ", b"heic", b"heix", b"mif1", b"msf1")
"""Brands of photos, which have the container of MP4."""

_MAGIC = (
    (b"fLaC", Format("FLAC", "flac", by_sndfile=True)),
    (b"OggS", Format("Ogg", "ogg", by_sndfile=True)),
    (b".snd", Format("AU", "au", by_sndfile=True)),
    (b"dns.", Format("AU", "au", by_sndfile=True)),
    (b"NIST_1A", Format("SPHERE", "nistsphere", by_sndfile=True)),
    (b"riff\x2e\x91\xcf\x11", Format("W64", "w64", by_sndfile=True)),
    (b"caff", Format("CAF", "caf", by_sndfile=True)),
    (b"Creative Voice File", Format("VOC", "voc", by_sndfile=True)),
    (b"\x1aE\xdf\xa3", Format("WebM or Matroska", "matroska")),
    (b"0&\xb2u\x8ef\xcf\x11", Format("WMA (ASF)", "asf")),
    (b"#!AMR", Format("AMR", "amr")),
    (b"FLV\x01", Format("Flash video", "flv")),
    (b"wvpk", Format("WavPack", "wv")),
    (b"MAC ", Format("Monkey's Audio", "ape")),
    (b"TTA1", Format("True Audio", "tta")),
    (b".RMF", Format("RealMedia", "rm")),
    (b".ra\xfd", Format("RealAudio", "rm")),
    (b"\x0b\x77", Format("AC-3", "ac3")),
    (b"\x00\x00\x01\xba", Format("MPEG video", "mpeg")),
    (b"ADIF", Format("AAC", "aac")),
)


def sniff(head: bytes) -> Format | None:
    """The format of a file.

    Args:
        head: Its first ``HEAD_BYTES`` bytes.

    Returns:
        None if the bytes are no known audio or video format.
    """
    if head[:3] == b"ID3":
        return _after_id3(head)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        if head[8:12] == b"AVI ":
            return Format("AVI", "avi")
        return _WAV if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Format("AIFF", "aiff", by_sndfile=True)
    if head[:4] == b"FORM" and head[8:12] in (b"8SVX", b"16SV"):
        return Format("IFF", "iff", by_sndfile=True)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return _iso_media(head)
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return Format("MPEG transport stream", "mpegts")
    known = next((format for magic, format in _MAGIC if head.startswith(magic)), None)
    return known or _mpeg_audio(head)


def _iso_media(head: bytes) -> Format | None:
    brand = head[8:12]
    if brand in _PHOTOS:
        return None
    if head[4:8] != b"ftyp" or brand == b"qt  ":
        return Format("QuickTime (MOV)", "mov")
    if brand in (b"M4A ", b"M4B "):
        return Format("M4A", "mp4")
    return Format("3GP" if brand[:2] == b"3g" else "MP4", "mp4")


def _after_id3(head: bytes) -> Format | None:
    """A file that begins with ID3 tags: usually MP3, sometimes AAC, WAV or FLAC."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    rest = head[10 + size :]
    return (sniff(rest) if len(rest) >= 12 else None) or Format("MP3", "mp3", by_sndfile=True)


def _mpeg_audio(head: bytes) -> Format | None:
    """Frames of MPEG audio: eleven set bits, then version, layer, bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 3
    if layer == 0:  # ADTS: version 4 or 2, no layer
        return Format("AAC", "aac") if head[1] & 0xF0 == 0xF0 else None
    valid = head[1] >> 3 & 3 != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    if not valid or layer not in _MPEG_LAYERS:
        return None
    return Format(_MPEG_LAYERS[layer], "mp3", by_sndfile=True)
