"""Text that reaches a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.files.writing import json_text, path_text
from phoneme_moe.system.console import PlainConsole
from phoneme_moe.system.terminal import printable

names = st.binary(min_size=1, max_size=20) | st.text(
    "a\\xe9\x1b\n\t\u202e\u2066\x9b é😀\u200d", min_size=1, max_size=12
).map(lambda text: text.encode())


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a b.wav", "a b.wav"),
        ("tʃ 東京\u3000é\N{COMBINING ACUTE ACCENT} 😀".encode(), "tʃ 東京\u3000é\u0301 😀"),
        (b"\x1b[31mred\x1b[0m.wav", r"\x1b[31mred\x1b[0m.wav"),
        (b"a\nb\tc\rd\x7f", r"a\nb\tc\rd\x7f"),
        ("\u202egnp.wav\u2066".encode(), r"\u202egnp.wav\u2066"),
        ("\x9b2J".encode(), r"\u009b2J"),
        (b"caf\xe9.wav", r"caf\xe9.wav"),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
def test_what_controls_a_terminal_is_escaped(raw: bytes, shown: str) -> None:
    assert printable(os.fsdecode(raw)) == shown
    # Names that Python decoded as ASCII (LC_ALL=C).
    assert printable(raw.decode("ascii", "surrogateescape")) == shown


@given(names)
def test_printable_text_is_one_line_that_stays_as_it_is(raw: bytes) -> None:
    shown = printable(os.fsdecode(raw))
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode("utf-8")


@given(st.lists(names, min_size=2, max_size=2, unique=True))
def test_different_paths_are_different_in_json(raw: list[bytes]) -> None:
    first, second = (Path(os.fsdecode(b"a" + name.replace(b"\0", b""))) for name in raw)
    texts = [path_text(first), path_text(second)]
    assert (texts[0] == texts[1]) == (first == second)
    for text in texts:
        line = json_text({"file": text})
        assert json.loads(line.encode("utf-8")) == {"file": text}
        assert line.isprintable()


@given(st.text())
def test_json_is_the_same_data_without_control_characters(text: str) -> None:
    written = json_text([text])
    assert json.loads(written) == [text]
    assert printable(written) == written


def test_a_console_shows_names_as_they_are() -> None:
    from rich.table import Table

    stream = io.StringIO()
    console = PlainConsole(file=stream, force_terminal=True, color_system="truecolor", width=60)
    table = Table("[red]speaker", title="[/x]\x1b]0;title\x07")
    table.add_row("[bold]:smile:\x1b[2J\u202e")
    console.print(table)
    shown = stream.getvalue()
    assert r"[bold]:smile:\x1b[2J\u202e" in shown
    assert r"[/x]\x1b]0;title\x07" in shown
    assert "[red]speaker" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[1m" in shown  # styles of the table itself


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({}, "utf-8"),
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "utf-8"),
    ],
)
def test_output_in_any_encoding_is_whole(environment: dict[str, str], encoding: str) -> None:
    code = (
        "from phoneme_moe.system.terminal import configure_output, print_error, print_line\n"
        "from phoneme_moe.files.writing import json_text\n"
        "configure_output()\n"
        "text = '\\xe9 t\\u0283 \\U0001f600 \\udce9'\n"
        "print(json_text([text])); print_line(text); print_error(text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    data, line = done.stdout.decode(encoding).splitlines()
    assert json.loads(data) == ["é tʃ 😀 \udce9"]
    assert ("tʃ" in line) == (encoding == "utf-8")
    assert ("é" in line) == (encoding != "ascii")
    assert line.endswith(r"\xe9")
    assert done.stderr.endswith(b"\\xe9\n")
