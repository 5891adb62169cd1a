"""The process that decodes: reads requests from standard input, writes blocks to standard output.

Messages have a byte for their kind, eight bytes of length and a body; nothing is pickled.
"""

from __future__ import annotations

import json
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from phoneme_moe.audio.decode import Request, decode, probe
from phoneme_moe.errors import InputError

MAX_CPU_SECONDS = 30
"""Most processor time for a block; a decoder that needs more runs in circles."""

MAX_MEMORY = 4 << 30
"""Most address space of the process, in bytes."""

BLOCK, NOTE, INFO, ERROR, DONE = b"b", b"n", b"i", b"e", b"d"


def write_message(stream: IO[bytes], kind: bytes, body: bytes = b"") -> None:
    """Writes a message and flushes the stream."""
    stream.write(kind + struct.pack("<Q", len(body)))
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Reads the kind and body of a message; None at the end of the stream."""
    head = stream.read(9)
    if len(head) < 9:
        return None
    size = struct.unpack("<Q", head[1:])[0]
    body = stream.read(size)
    return (head[:1], body) if len(body) == size else None


def main() -> None:
    """Answers requests until standard input ends."""
    _limit_memory()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while (message := read_message(requests)) is not None:
        request = json.loads(message[1])
        content = None
        if request["path"] is None:
            following = read_message(requests)
            content = b"" if following is None else following[1]
        _answer(request, content, answers)


def _answer(request: dict[str, Any], content: bytes | None, answers: IO[bytes]) -> None:
    only_info = request.pop("only_info")
    wanted = Request(**request)
    try:
        _limit_time()
        if only_info:
            info = probe(wanted.name, wanted.path, content)
            write_message(answers, INFO, json.dumps(asdict(info)).encode())
        else:

            def note(text: str) -> None:
                write_message(answers, NOTE, text.encode("utf-8", "surrogateescape"))

            for block in decode(wanted, note, content):
                write_message(answers, BLOCK, block.astype("<f4").tobytes())
                _limit_time()
        write_message(answers, DONE)
    except InputError as error:
        write_message(answers, ERROR, str(error).encode("utf-8", "surrogateescape"))
    except MemoryError:
        text = f"{wanted.name}: needs more than {MAX_MEMORY >> 30} GB of memory to decode"
        write_message(answers, ERROR, text.encode("utf-8", "surrogateescape"))


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _limit_time() -> None:
    """Allows the next block ``MAX_CPU_SECONDS``; the system ends a process that takes more."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + MAX_CPU_SECONDS
    with suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        limit = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


if __name__ == "__main__":
    main()
