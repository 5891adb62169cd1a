"""Speaking: eSpeak inside Praat, with the time of every phoneme.

The synthesiser slowly wavers the pitch of most voices (flutter), and where it is in that
movement is kept in the process, not in the synthesiser object: the same word sounds a little
different after other words. So a list of words is always spoken from its first word on, in a
process of its own; then it comes out bit for bit the same, whatever else is spoken meanwhile.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from phoneme_moe.corpora.announcers.voices import Announcer, fold_labels
from phoneme_moe.errors import InputError

SAMPLING_RATE = 16_000
_ESPEAK_SAMPLING_RATE = 22_050  # its own: Praat takes longer to resample than to speak
# Some voices peak at 1.01: one gain for all keeps them from clipping and their levels apart.
_GAIN = 0.7


@dataclass(frozen=True)
class Recital:
    """Words that one announcer speaks in a row.

    Attributes:
        announcer: Who speaks.
        words: Word number in the list, the word in kana, and which rendition of it this is.
    """

    announcer: Announcer
    words: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True)
class Spoken:
    """One word as it was spoken.

    Attributes:
        announcer: Who spoke it.
        word: In kana.
        phonemes: Folded, in order.
        times: Start and end of each phoneme in seconds.
        id: Of the utterance.
        path: Of the file, from the corpus folder.
        num_samples: Length of the file.
    """

    announcer: Announcer
    word: str
    phonemes: tuple[str, ...]
    times: tuple[tuple[float, float], ...]
    id: str
    path: str
    num_samples: int


def recite(recitals: Sequence[Recital], folder: Path, num_processes: int) -> Iterator[Spoken]:
    """Speaks each recital in a process of its own and writes its files.

    Args:
        recitals: What is spoken.
        folder: The corpus folder; files go to ``audio/SPEAKER/ID.flac`` in it.
        num_processes: How many speak at a time.

    Yields:
        Each word when it is spoken, in no particular order.

    Raises:
        InputError: A word has a sound without a phoneme.
    """
    # A spawned process starts afresh, whatever this one has done or loaded.
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(recitals))
    speaking: dict[Any, Any] = {}
    try:
        while waiting or speaking:
            while waiting and len(speaking) < num_processes:
                receiver, sender = context.Pipe(duplex=False)
                arguments = (waiting.pop(), folder, sender)
                process = context.Process(target=_recite_alone, args=arguments, daemon=True)
                process.start()
                sender.close()  # so that the end of the process is the end of the pipe
                speaking[receiver] = process
            for receiver in cast("list[Connection[Any, Any]]", wait(list(speaking))):
                try:
                    message = receiver.recv()
                except EOFError:
                    process = speaking.pop(receiver)
                    process.join()
                    if process.exitcode != 0:
                        raise RuntimeError(
                            f"a speaking process ended with {process.exitcode}"
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
    # On Ctrl-C the terminal tells every process; this one ends without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        for spoken in _speak(recital, folder):
            sender.send(spoken)
    except InputError as error:
        sender.send(error)
    except BrokenPipeError:
        pass  # nobody listens any more


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
        # Through memory: soundfile would wait for the disk after every file, longer than it takes
        # to speak the word.
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
    """Pitch, its range and the rate of one rendition: always the same, never those of another."""
    digest = hashlib.sha256(f"{announcer.name} {word} {rendition}".encode()).digest()
    x, y, z = (int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i in range(3))
    return (
        announcer.pitch * (0.85 + 0.3 * x),
        0.6 + 1.4 * y,  # 2.0 is the most Praat allows
        round(announcer.words_per_minute * (0.85 + 0.3 * z)),
    )


def _labels(table: str, duration: float) -> list[tuple[str, float, float]]:
    """The phoneme tier of Praat's listing of a TextGrid: ``tmin tier text tmax`` lines."""
    labels = []
    for line in table.splitlines()[1:]:
        start, tier, label, end = line.split("\t")
        if tier == "phoneme":
            # Praat's grid may outlast the last sample by a fraction of one.
            labels.append((label, float(start), min(float(end), duration)))
    return labels
