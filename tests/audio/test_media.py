"""Recordings of phones, browsers and meetings, written by PyAV, decoded by it and by ``ffmpeg``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from phoneme_moe.audio import media
from phoneme_moe.audio.decode import Request, decode, probe
from phoneme_moe.audio.formats import sniff
from phoneme_moe.audio.waveform import load_waveform
from phoneme_moe.errors import InputError

av = pytest.importorskip("av")

RATE = 16_000
CHIRP = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 2000, 2 * RATE)) / RATE).astype(np.float32)
CHIRP *= np.hanning(len(CHIRP)).astype(np.float32) * 0.5

WRITTEN = {
    # file: container, codec, sample rate, name of the format
    "a.m4a": ("ipod", "aac", 48_000, "M4A"),
    "alac.m4a": ("ipod", "alac", RATE, "M4A"),
    "a.mp4": ("mp4", "aac", 44_100, "MP4"),
    "a.mov": ("mov", "aac", 44_100, "QuickTime (MOV)"),
    "a.3gp": ("3gp", "aac", RATE, "3GP"),
    "a.webm": ("webm", "libopus", 48_000, "WebM or Matroska"),
    "a.mkv": ("matroska", "pcm_s16le", RATE, "WebM or Matroska"),
    "a.wma": ("asf", "wmav2", 44_100, "WMA (ASF)"),
    "a.aac": ("adts", "aac", 44_100, "AAC"),
    "a.avi": ("avi", "mp2", 44_100, "AVI"),
    "a.flv": ("flv", "aac", 44_100, "Flash video"),
    "a.ts": ("mpegts", "aac", 44_100, "MPEG transport stream"),
    "a.wv": ("wv", "wavpack", RATE, "WavPack"),
    "a.tta": ("tta", "tta", RATE, "True Audio"),
    "a.ac3": ("ac3", "ac3", 44_100, "AC-3"),
    "a.amr": ("amr", "libopencore_amrnb", 8_000, "AMR"),
}


def write(file: Path, container: str, codec: str, rate: int, video_first: bool = False) -> None:
    samples = np.interp(np.arange(0, 2, 1 / rate), np.arange(len(CHIRP)) / RATE, CHIRP)
    with av.open(str(file), "w", format=container) as out:
        try:
            track = out.add_stream(codec, rate=rate, layout="mono")
            if codec == "wmav2":  # has no default
                track.bit_rate = 64_000
        except (ValueError, av.FFmpegError) as error:
            pytest.skip(f"this PyAV cannot write {codec}: {error}")
        if video_first:
            picture = out.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for _ in range(20):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        content = (32767 * samples).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(content, "s16", "mono")
        frame.sample_rate = rate
        frame.pts = 0
        fifo = av.AudioFifo()
        resampler = av.AudioResampler(track.codec_context.format, "mono", rate)
        for part in resampler.resample(frame):
            fifo.write(part)
        size = track.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            out.mux(track.encode(part))
        out.mux(track.encode(None))


@pytest.fixture(params=["PyAV", "ffmpeg"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "ffmpeg":
        if shutil.which("ffmpeg") is None:
            pytest.skip("no program ffmpeg here")
        monkeypatch.setitem(__import__("sys").modules, "av", None)
    return str(request.param)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_a_phone_wrote_is_the_recording(name: str, decoder: str, tmp_path: Path) -> None:
    container, codec, rate, format = WRITTEN[name]
    file = tmp_path / name
    write(file, container, codec, rate)
    info = probe(name, str(file))
    assert info.format == format
    assert info.seconds == pytest.approx(2, abs=0.15)
    decoded = np.concatenate(list(decode(Request(name, str(file)), pytest.fail)))
    # Codecs may add some milliseconds at the start.
    spectrum = np.fft.rfft(decoded, 1 << 17) * np.fft.rfft(CHIRP, 1 << 17).conj()
    likeness = np.fft.irfft(spectrum)
    delay = int(likeness.argmax())
    delay -= (delay > 1 << 16) << 17
    assert abs(delay) < 0.07 * RATE
    likest = likeness.max() / np.linalg.norm(decoded) / np.linalg.norm(CHIRP)
    assert likest > (0.9 if codec.startswith("libopencore") else 0.97)


def test_the_sound_of_a_video_is_taken(decoder: str, tmp_path: Path) -> None:
    file = tmp_path / "meeting.mp4"
    write(file, "mp4", "aac", 44_100, video_first=True)
    decoded = np.concatenate(list(decode(Request("a", str(file)), pytest.fail)))
    assert len(decoded) / RATE == pytest.approx(2, abs=0.1)


def test_the_library_reads_in_the_worker_too(tmp_path: Path) -> None:
    write(tmp_path / "a", "ipod", "alac", RATE)
    assert load_waveform(tmp_path / "a", RATE) == pytest.approx(CHIRP, abs=1e-4)


def test_a_video_without_sound(decoder: str, tmp_path: Path) -> None:
    file = tmp_path / "mute.mp4"
    with av.open(str(file), "w") as out:
        picture = out.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
    with pytest.raises(InputError, match=r"mute.mp4: .*(without a sound track|without sound)"):
        probe("mute.mp4", str(file))


@pytest.mark.parametrize("size", [30, 500, 5000])
def test_a_piece_of_a_file_is_one_line(size: int, decoder: str, tmp_path: Path) -> None:
    write(tmp_path / "whole.mp4", "mp4", "aac", 44_100)
    (tmp_path / "piece").write_bytes((tmp_path / "whole.mp4").read_bytes()[:size])
    with pytest.raises(InputError, match="piece: not readable as MP4"):
        list(decode(Request("piece", str(tmp_path / "piece")), pytest.fail))


def test_without_either_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.m4a", "ipod", "alac", RATE)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    monkeypatch.setattr(media.shutil, "which", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"a.m4a: found M4A, which needs .*pip install av.*ffmpeg",
    ):
        probe("a.m4a", str(tmp_path / "a.m4a"))


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"[playlist]\nFile1=http://127.0.0.1:9/a\n",
        b"<?xml version='1.0'?><MPD></MPD>",
    ],
    ids=["HLS", "concat", "pls", "DASH"],
)
def test_playlists_are_not_followed(content: bytes, decoder: str, tmp_path: Path) -> None:
    (tmp_path / "list.m4a").write_bytes(content)
    assert sniff(content) is None
    with pytest.raises(InputError, match="not readable as audio"):
        probe("list.m4a", str(tmp_path / "list.m4a"))
