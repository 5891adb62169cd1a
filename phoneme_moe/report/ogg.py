"""Ogg files that are the same for the same audio.

The writing library gives each file a random serial number, which is in the header of every page
(RFC 3533, section 6) and in the page's checksum.
"""

from __future__ import annotations

import struct

_SERIAL, _CHECKSUM, _NUM_SEGMENTS, _HEADER = 14, 22, 26, 27
"""Positions in the header of a page, and its size without the table of segments."""


def with_serial(content: bytes, serial: int = 0) -> bytes:
    """An Ogg file with another serial number.

    Args:
        content: An Ogg file of one stream.
        serial: The number, 32 bits.
    """
    result = bytearray(content)
    page = 0
    while page < len(result):
        body = page + _HEADER + result[page + _NUM_SEGMENTS]
        end = body + sum(result[page + _HEADER : body])
        struct.pack_into("<I", result, page + _SERIAL, serial)
        struct.pack_into("<I", result, page + _CHECKSUM, 0)
        struct.pack_into("<I", result, page + _CHECKSUM, _checksum(result[page:end]))
        page = end
    return bytes(result)


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 of the polynomial 0x04c11db7, without reflection or inversion."""
    register = 0
    for byte in page:
        register = (register << 8 & 0xFFFFFFFF) ^ _TABLE[register >> 24 ^ byte]
    return register


def _table_entry(register: int) -> int:
    for _ in range(8):
        register = register << 1 ^ (0x104C11DB7 if register & 0x80000000 else 0)
    return register


_TABLE = [_table_entry(index << 24) for index in range(256)]
