"""Decoding in worker processes: a decoder that crashes or hangs costs one file."""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing.spawn import get_executable
from typing import Any

import numpy as np

from phoneme_moe.audio import AudioWarning
from phoneme_moe.audio.decode import AudioInfo, Request
from phoneme_moe.audio.opening import Waveform
from phoneme_moe.audio.worker import (
    BLOCK,
    DONE,
    ERROR,
    INFO,
    MAX_CPU_SECONDS,
    NOTE,
    read_message,
    write_message,
)
from phoneme_moe.errors import InputError

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from phoneme_moe.audio.worker import main; main()"
)


class _Worker:
    """A worker process."""

    def __init__(self) -> None:
        # One thread: NumPy would otherwise reserve memory for a thread per core.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [get_executable(), "-c", _START, json.dumps(list(map(str, sys.path)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print what users cannot use
            start_new_session=True,  # Ctrl-C is for the process that asks
            env=environment,
        )

    def ask(self, request: Request, only_info: bool, content: bytes | None) -> Iterator[Any]:
        """Yields blocks, or the info; the worker is free once this has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            data = json.dumps(asdict(request) | {"only_info": only_info}).encode()
            write_message(self.process.stdin, b"r", data)
            if content is not None:
                write_message(self.process.stdin, b"c", content)
        except OSError:  # it has ended: its exit status tells why
            raise self._died(request) from None
        while (message := read_message(self.process.stdout)) is not None:
            kind, body = message
            if kind == BLOCK:
                yield np.frombuffer(body, "<f4")
            elif kind == INFO:
                yield AudioInfo(**json.loads(body))
            elif kind == NOTE:
                text = body.decode("utf-8", "surrogateescape")
                warnings.warn(text, AudioWarning, stacklevel=2)
            elif kind == ERROR:
                raise InputError(body.decode("utf-8", "surrogateescape"))
            elif kind == DONE:
                return
        raise self._died(request)

    def _died(self, request: Request) -> InputError:
        code = self.process.wait()
        if code == -getattr(signal, "SIGXCPU", 0) != 0:
            return InputError(
                f"{request.name}: its decoder ran for {MAX_CPU_SECONDS} s without a result; the "
                "file is damaged"
            )
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return InputError(f"{request.name}: its decoder crashed ({how}); the file is damaged")

    def end(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self.process.wait()


class _Pool:
    """Idle workers of this process; one is started whenever none is idle."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        atexit.register(self.close)

    @contextmanager
    def worker(self) -> Iterator[_Worker]:
        """Lends a worker; one that was left within an answer is ended."""
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = _Worker()
        try:
            yield worker
        except InputError:
            if worker.process.poll() is None:
                self._idle.put(worker)
            else:
                worker.end()
            raise
        except BaseException:
            worker.end()
            raise
        self._idle.put(worker)

    def close(self) -> None:
        """Ends all idle workers."""
        if self.owner != os.getpid():  # a fork: they belong to the parent
            return
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().end()


_pool: _Pool | None = None
_lock = threading.Lock()


def _workers() -> _Pool:
    global _pool
    with _lock:
        if _pool is None or _pool.owner != os.getpid():
            _pool = _Pool()
        return _pool


def start_worker() -> None:
    """Starts a worker, which is ready by the time that a model is loaded."""
    with suppress(OSError), _workers().worker():
        pass


def end_workers() -> None:
    """Ends idle workers: only then is their processor time that of children (``os.times``)."""
    _workers().close()


def decode_blocks(request: Request, content: bytes | None = None) -> Iterator[Waveform]:
    """``decode.decode`` in a worker; an ``AudioWarning`` tells what was not used as it stands.

    Raises:
        InputError: As for ``decode.decode``, or the decoder crashed or did not end.
    """
    with _workers().worker() as worker:
        yield from worker.ask(request, False, content)


def audio_info(name: str, path: str | None, content: bytes | None = None) -> AudioInfo:
    """``decode.probe`` in a worker.

    Raises:
        InputError: As for ``decode.probe``, or the decoder crashed or did not end.
    """
    info: AudioInfo
    with _workers().worker() as worker:
        (info,) = worker.ask(Request(name, path), True, content)
    return info
