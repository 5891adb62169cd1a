"""Mutations of bytes, for any file format: flips, cuts, repeats, and extreme numbers."""

from __future__ import annotations

import random

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(content: bytes, random: random.Random, times: int | None = None) -> bytes:
    """Applies a few random mutations.

    Args:
        content: A valid file.
        random: Source of randomness.
        times: Number of mutations; one to eight by default.
    """
    data = bytearray(content)
    for _ in range(times if times is not None else random.randint(1, 8)):
        # Headers are at the start: half of the mutations go there.
        limit = min(len(data), 256) if random.random() < 0.5 else len(data)
        if limit == 0:
            return bytes(random.randbytes(random.randint(0, 64)))
        place = random.randrange(limit)
        match random.randrange(7):
            case 0:
                data[place] ^= 1 << random.randrange(8)
            case 1:
                data[place] = random.randrange(256)
            case 2:
                size = random.choice((1, 2, 4, 8))
                number = random.choice(_NUMBERS) & (256**size - 1)
                little, big = number.to_bytes(size, "little"), number.to_bytes(size, "big")
                data[place : place + size] = random.choice((little, big))
            case 3:
                del data[place:]
            case 4:
                del data[place : place + random.randint(1, 64)]
            case 5:
                data[place:place] = data[place : place + random.randint(1, 64)]
            case 6:
                data[place:place] = random.randbytes(random.randint(1, 16))
    return bytes(data)
