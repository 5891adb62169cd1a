"""Speech synthesis by eSpeak in Praat, with phoneme times.

The synthesiser slowly modulates the pitch of most voices (flutter), with a phase that is global
state of the process, so a word depends slightly on the words before it. Each list of words is
therefore synthesised in a new process, which makes the audio reproducible bit for bit.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from phoneme_moe.corpora.announcers.voices import Announcer, fold_labels
from phoneme_moe.errors import InputError
from phoneme_moe.system.processes import without_terminal_signals

SAMPLING_RATE = 16_000
_ESPEAK_SAMPLING_RATE = (
    22_050  # native rate of eSpeak: resampling in Praat takes longer than synthesis
)
# Some voices peak at 1.01; a common gain avoids clipping and keeps their relative levels.
_GAIN = 0.7


@dataclass(frozen=True)
class Recital:
    """A list of words for one announcer.

    Attributes:
        announcer: The announcer.
        words: Number of the word, the word in kana, and number of the rendition, for each.
    """

    announcer: Announcer
    words: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True)
class Spoken:
    """A synthesised word.

    Attributes:
        announcer: The announcer.
        word: The word in kana.
        phonemes: Phonemes in order, mapped by ``FOLD``.
        times: Start and end of each phoneme in seconds.
        id: Identifier of the utterance.
        path: Audio file, relative to the corpus folder.
        num_samples: Length of the file in samples.
    """

    announcer: Announcer
    word: str
    phonemes: tuple[str, ...]
    times: tuple[tuple[float, float], ...]
    id: str
    path: str
    num_samples: int


def recite(recitals: Sequence[Recital], folder: Path, num_processes: int) -> Iterator[Spoken]:
    """Synthesises each list in a separate process and writes the audio files.

    Args:
        recitals: The lists of words.
        folder: The corpus folder; files are written to ``audio/SPEAKER/ID.flac`` in it.
        num_processes: Number of parallel processes.

    Yields:
        Synthesised words, in no particular order.

    Raises:
        InputError: A word contains a sound that has no phoneme.
    """
    # A spawned process does not inherit state.
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(recitals))
    speaking: dict[Any, Any] = {}
    try:
        while waiting or speaking:
            while waiting and len(speaking) < num_processes:
                receiver, sender = context.Pipe(duplex=False)
                arguments = (waiting.pop(), folder, sender)
                process = context.Process(target=_recite_alone, args=arguments, daemon=True)
                with without_terminal_signals():
                    process.start()
                sender.close()  # so that the pipe ends with the process
                speaking[receiver] = process
            for receiver in cast("list[Connection[Any, Any]]", wait(list(speaking))):
                try:
                    message = receiver.recv()
                except EOFError:
                    process = speaking.pop(receiver)
                    process.join()
                    if process.exitcode != 0:
                        raise RuntimeError(
                            f"a synthesis process ended with exit code {process.exitcode}"
                        ) from None
                    continue
                if isinstance(message, InputError):
                    raise message
                yield message
    finally:
        for process in speaking.values():
            process.terminate()
            process.join()


def _recite_alone(recital: Recital, folder: Path, sender: Connection[Any, Any]) -> None:
    try:
        for spoken in _speak(recital, folder):
            sender.send(spoken)
    except InputError as error:
        sender.send(error)
    except BrokenPipeError:
        pass  # the receiver is gone


def _speak(recital: Recital, folder: Path) -> Iterator[Spoken]:
    import parselmouth
    import soundfile
    import soxr
    from parselmouth.praat import call

    announcer = recital.announcer
    synthesizer = call("Create SpeechSynthesizer", "Japanese", announcer.voice)
    (folder / "audio" / announcer.name).mkdir(parents=True, exist_ok=True)
    for number, word, rendition in recital.words:
        pitch, pitch_range, rate = _manner(announcer, word, rendition)
        call(
            synthesizer, "Speech output settings",
            _ESPEAK_SAMPLING_RATE, 0.01, pitch, pitch_range, rate, "IPA",
        )  # fmt: skip
        results = call(synthesizer, "To Sound", word, "yes")
        sound = next(r for r in results if isinstance(r, parselmouth.Sound))
        text_grid = next(r for r in results if not isinstance(r, parselmouth.Sound))
        samples = soxr.resample(sound.values[0] * _GAIN, _ESPEAK_SAMPLING_RATE, SAMPLING_RATE)
        duration = len(samples) / SAMPLING_RATE
        labels = _labels(call(text_grid, "List", False, 9, True, False), duration)
        phonemes, times = fold_labels(labels, word)
        id = f"{announcer.name}-{number:04d}-{''.join(phonemes)}-{rendition}"
        path = f"audio/{announcer.name}/{id}.flac"
        # Encoded in memory, since soundfile waits for the disk, which takes longer than synthesis.
        encoded = BytesIO()
        soundfile.write(encoded, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        (folder / path).write_bytes(encoded.getvalue())
        yield Spoken(
            announcer=announcer,
            word=word,
            phonemes=phonemes,
            times=times,
            id=id,
            path=path,
            num_samples=len(samples),
        )


def _manner(announcer: Announcer, word: str, rendition: int) -> tuple[float, float, int]:
    """Pitch, pitch range and speaking rate of a rendition, derived from a hash of its name."""
    digest = hashlib.sha256(f"{announcer.name} {word} {rendition}".encode()).digest()
    x, y, z = (int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i in range(3))
    return (
        announcer.pitch * (0.85 + 0.3 * x),
        0.6 + 1.4 * y,  # Praat allows at most 2.0
        round(announcer.words_per_minute * (0.85 + 0.3 * z)),
    )


def _labels(table: str, duration: float) -> list[tuple[str, float, float]]:
    """Labels of the phoneme tier in Praat's TextGrid table, with lines ``tmin tier text tmax``."""
    labels = []
    for line in table.splitlines()[1:]:
        start, tier, label, end = line.split("\t")
        if tier == "phoneme":
            # Praat's TextGrid may extend beyond the last sample by a fraction of a sample.
            labels.append((label, float(start), min(float(end), duration)))
    return labels
