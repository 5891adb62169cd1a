"""Text files of any origin, against the encoders of Python."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.errors import InputError
from phoneme_moe.files.text_files import decode_text, read_text, split_lines

TEXT = "wörd  a ʃ t͡ʃ\r\nzwei\tβ\n"
ENCODED = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16 le": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16 be": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "utf-32 le": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "utf-16 le without a mark": TEXT.encode("utf-16-le"),
    "utf-16 be without a mark": TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_every_encoding_gives_the_same_text(encoding, tmp_path):
    file = tmp_path / "text"
    file.write_bytes(ENCODED[encoding])
    assert read_text(file) == TEXT


def test_latin_1_is_refused_with_its_byte_and_line(tmp_path):
    file = tmp_path / "text"
    file.write_bytes("one\r\ntwo\rcafé\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"byte 12 \(line 3\): found 0xE9, which is not UTF-8"):
        read_text(file)


def test_binary_content_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"line 2: found a NUL"):
        decode_text(b"abcdefgh\nabc\0", "x")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_utf_8_round_trip(text):
    expected = text.removeprefix("\ufeff")
    assert decode_text(text.encode(), "x") == expected


@given(st.binary(max_size=80))
def test_bytes_give_text_or_one_line(content):
    try:
        text = decode_text(content, "x")
    except InputError as error:
        text = str(error)
    assert "\0" not in text


def test_lines_are_those_of_an_editor():
    assert split_lines("a\x0bb\x1cc\u2028d\x85\r\ne\rf\n\ng") == [
        "a\x0bb\x1cc\u2028d\x85",
        "e",
        "f",
        "",
        "g",
    ]
    assert split_lines("a\n") == ["a"]
    assert split_lines("") == []
