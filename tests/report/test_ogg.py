from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

from phoneme_moe.report.ogg import with_serial
from phoneme_moe.report.utterance_views import audio_file


def test_the_audio_of_a_page_is_the_same_each_time_and_can_be_read() -> None:
    waveform = np.sin(np.arange(16_000) / 9).astype(np.float32) * 0.5
    first = audio_file(waveform, 8000)
    assert audio_file(waveform, 8000) == first
    samples, rate = soundfile.read(io.BytesIO(first))
    assert (rate, len(samples)) == (48_000, 96_000)


def test_the_checksum_is_that_of_libogg() -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(4800), 48_000, format="OGG", subtype="OPUS")
    written = content.getvalue()
    (serial,) = struct.unpack_from("<I", written, 14)
    assert with_serial(written, serial) == written
