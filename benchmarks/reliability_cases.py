"""What recordings, folders, texts and terminals are really like: a case for each kind.

Each case is a folder, a command in it, and the answer that is right. The tests run all of them;
``benchmarks.reliability`` writes them and their answers into docs/reliability.md.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "runs_0_1_0"
"""A small model of four phonemes, and a recording of ``a s i m a``, 8 kHz."""

RATE = 8000
Build = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """An input and the right answer.

    Attributes:
        kind: Number of the kind in the list of the page.
        what: The input, in a few words.
        build: Makes the input in an empty folder.
        argv: Arguments of ``phoneme-moe``, in that folder.
        status: The right exit status.
        answer: Regular expression of the right answer: standard output, then standard error.
        shown: Line of the answer that the table shows; the last one by default.
        environment: Further environment variables.
        prefix: Command before it, such as ``taskset -c 0``.
    """

    kind: int
    what: str
    build: Build
    argv: tuple[str, ...]
    status: int
    answer: str
    shown: int = -1
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()


MODEL = "model.onnx"


def make_inputs(folder: Path) -> None:
    """What every case finds: the model, a run, and the recording ``a.wav``."""
    shutil.copy(FIXTURES / "gate.onnx", folder / MODEL)
    shutil.copytree(FIXTURES / "gate", folder / "run")
    shutil.copy(FIXTURES / "carol.wav", folder / "a.wav")


def _speech() -> np.ndarray:
    samples: np.ndarray = soundfile.read(FIXTURES / "carol.wav", dtype="int16")[0]
    return samples


def _write(name: str, samples: np.ndarray, **options: object) -> Build:
    def build(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, samples, RATE, **options)

    return build


def _flac_of_unknown_length(folder: Path) -> None:
    soundfile.write(folder / "zero.flac", _speech(), RATE)
    content = bytearray((folder / "zero.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (folder / "zero.flac").write_bytes(content)


def _inverted(folder: Path) -> None:
    half = _speech() // 2
    soundfile.write(folder / "call.wav", np.stack([half, -half], 1), RATE)


def _phone(folder: Path) -> None:
    import av

    (folder / "phone").mkdir()
    with av.open(str(folder / "phone" / "memo.m4a"), "w", format="ipod") as out:
        track = out.add_stream("alac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(_speech()[None], "s16", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(track.codec_context.format, "mono", RATE)
        fifo = av.AudioFifo()
        for converted in resampler.resample(frame):
            fifo.write(converted)
        while (part := fifo.read(track.codec_context.frame_size or 1024, partial=True)) is not None:
            out.mux(track.encode(part))
        out.mux(track.encode(None))


def _from_a_mac(folder: Path) -> None:
    _write("talks/a.wav", _speech())(folder)
    (folder / "talks" / "._a.wav").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
    (folder / "talks" / "__MACOSX").mkdir()
    (folder / "talks" / "__MACOSX" / "._a.wav").write_bytes(b"\0\5\26\7")
    (folder / "talks" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")


def _linked(folder: Path) -> None:
    _write("disk/ann/1.wav", _speech())(folder)
    (folder / "speakers").mkdir()
    (folder / "speakers" / "ann").symlink_to(folder / "disk" / "ann")
    (folder / "speakers" / "loop").symlink_to(folder / "speakers")


def _odd_name(folder: Path) -> None:
    shutil.copy(folder / "a.wav", folder / "zażółć\n\x1b[31m.wav")


def _mfa(folder: Path) -> None:
    (folder / "mfa.dict").write_text(
        "asima\t0.99\t0.14\t1.0\t1.0\ta s i m a\nasima\t0.01\t0.14\t1.0\t1.0\ta s i m i\n"
    )


def _kaldi(folder: Path, texts: Mapping[str, str], name: str = "mine") -> Path:
    target = folder / name
    target.mkdir()
    audio = target / "a.wav"
    soundfile.write(audio, np.tile(_speech(), 3), RATE)
    (target / "wav.scp").write_text("".join(f"{id} {audio}\n" for id in texts))
    (target / "utt2spk").write_text("".join(f"{id} ann\n" for id in texts))
    (target / "text").write_text(
        "".join(f"{id} {text}\n" for id, text in texts.items()), encoding="utf-8"
    )
    return target


def _spellings(folder: Path) -> None:
    _kaldi(folder, {"1": "ɡ ã t͡ʃ", "2": "g a\u0303 tʃ", "3": "g ã ʧ"})


def _segments(folder: Path) -> None:
    target = _kaldi(folder, {"u1": "a", "u2": "a", "u3": "a"})
    (target / "wav.scp").write_text(f"rec {target / 'a.wav'}\n")
    (target / "segments").write_text("u3 rec 1.6 2.9\nu1 rec 0 0.8\nu2 rec 0.8 -1\n")


def _utf_16(folder: Path) -> None:
    target = _kaldi(folder, {"1": "a", "2": "i", "3": "m"})
    text = (target / "text").read_text(encoding="utf-8")
    (target / "text").write_bytes(b"\xff\xfe" + text.encode("utf-16-le"))


def _latin_1(folder: Path) -> None:
    target = _kaldi(folder, {"1": "a", "2": "i", "3": "m"})
    (target / "text").write_bytes("1 a\n2 ü\n3 m\n".encode("latin-1"))


def _wav(size: int | None = None, rate: int = RATE) -> Build:
    def build(folder: Path) -> None:
        data = _speech().tobytes()
        form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate & 0xFFFFFFFF, 2, 16)
        body = b"WAVEfmt " + struct.pack("<I", 16) + form
        body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
        (folder / "stream.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)

    return build


def _text_grid(folder: Path) -> None:
    labels = '"IntervalTier" "phones" 0 0.8 5 ' + " ".join(
        f'{0.16 * i:.2f} {0.16 * (i + 1):.2f} "{p}"' for i, p in enumerate("asima")
    )
    text = f'"ooTextFile" "TextGrid" 0 0.8 <exists> 1 {labels}\n'
    (folder / "a.TextGrid").write_bytes(b"\xfe\xff" + text.encode("utf-16-be"))


def _same_names(folder: Path) -> None:
    _write("monday/take.wav", _speech())(folder)
    _write("tuesday/take.wav", _speech()[:4000])(folder)
    (folder / "out").mkdir()


def _nothing(folder: Path) -> None:
    pass


def _hidden_command(folder: Path) -> None:
    cut = {
        "id": "u1",
        "start": 0,
        "duration": 0.8,
        "channel": 0,
        "type": "MonoCut",
        "supervisions": [
            {
                "id": "u1",
                "recording_id": "r",
                "start": 0,
                "duration": 0.8,
                "speaker": "ann",
                "text": "a",
            }
        ],
        "recording": {
            "id": "r",
            "sources": [{"type": "command", "channels": [0], "source": "touch canary; cat a.wav"}],
            "sampling_rate": RATE,
            "num_samples": 6400,
            "duration": 0.8,
        },
    }
    (folder / "cuts.jsonl").write_text(json.dumps(cut) + "\n")


def _long_number(folder: Path) -> None:
    file = folder / "run" / "model.json"
    file.write_text(file.read_text().replace('"width": 16', f'"width": {"9" * 5000}', 1))


def _half_trained(folder: Path) -> None:
    (folder / "run" / "decoding.json").unlink()
    (folder / "run" / "evaluation.json").unlink()


def _promise(folder: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    file = folder / "run" / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())


def _formula(folder: Path) -> None:
    (folder / "a.wav").rename(folder / "=cmd|'calc'!A0.wav")


def _bomb(folder: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (folder / "bomb.yaml").write_text("\n".join(lines) + "\n")


def _renamed(name: str) -> Build:
    def build(folder: Path) -> None:
        (folder / "a.wav").rename(folder / name)

    return build


TRANSCRIBE = ("transcribe", MODEL)
RIGHT = r"\ta s i m a\n"

CASES = (
    Case(1, "a FLAC whose header says 0 samples", _flac_of_unknown_length,
         (*TRANSCRIBE, "zero.flac"), 0, rf"^zero.flac{RIGHT}$"),
    Case(2, "stereo with one channel inverted", _inverted, (*TRANSCRIBE, "call.wav"), 0,
         rf"^call.wav{RIGHT}phoneme-moe: call.wav: its channels (nearly )?cancel out"),
    Case(3, "a folder with a voice memo in M4A", _phone, (*TRANSCRIBE, "phone"), 0,
         rf"memo.m4a{RIGHT}"),
    Case(4, "a folder from a Mac: `._a.wav`, `__MACOSX/`, `Thumbs.db`", _from_a_mac,
         (*TRANSCRIBE, "talks"), 0, rf"^talks/a.wav{RIGHT}$"),
    Case(5, "linked speaker folders, and a link to itself", _linked, (*TRANSCRIBE, "speakers"), 0,
         rf"^speakers/ann/1.wav{RIGHT}$"),
    Case(6, "a name with a newline and an escape, on an ASCII terminal", _odd_name,
         (*TRANSCRIBE, "zażółć\n\x1b[31m.wav"), 0, r"\\n\\x1b\[31m.wav\ta s i m a\n$",
         environment={"PYTHONIOENCODING": "ascii"}),
    Case(7, "a dictionary of MFA with four probabilities", _mfa,
         ("align", "run", "a.wav", "--text", "asima", "--lexicon", "mfa.dict"), 0,
         r"phoneme .*\na .*\ns .*\ni .*\nm .*\na .*\n$", shown=1),
    Case(8, "`ɡ` and `g`, NFC and NFD, `t͡ʃ`, `tʃ` and `ʧ` in one corpus", _spellings,
         ("corpora", "prepare", "kaldi", "--from", "mine"), 0, r"3 phonemes: g tʃ ã\n"),
    Case(9, "Kaldi segments: unsorted, end -1, an end past the recording", _segments,
         ("corpora", "prepare", "kaldi", "--from", "mine"), 0, r"trimmed: 1 "),
    Case(10, "tables in UTF-16", _utf_16, ("corpora", "prepare", "kaldi", "--from", "mine"), 0,
         r"3 phonemes: a i m\n"),
    Case(10, "a table in Latin-1", _latin_1, ("corpora", "prepare", "kaldi", "--from", "mine"), 1,
         r"mine/text: byte 6 \(line 2\): found 0xFC, which is not UTF-8"),
    Case(11, "one core of several", _nothing, ("bench", MODEL, "a.wav"), 0, r"\b1 core",
         prefix=("taskset", "-c", "0")),
    Case(12, "a WAV whose size is 0, from a recorder that was cut off", _wav(size=0),
         (*TRANSCRIBE, "stream.wav"), 0, rf"^stream.wav{RIGHT}$"),
    Case(12, "a WAV that promises 100 Hz", _wav(rate=100), (*TRANSCRIBE, "stream.wav"), 1,
         r"^phoneme-moe: stream.wav: found a sample rate of 100 Hz, expected 1000 to 768000 Hz\n$"),
    Case(13, "a short TextGrid in UTF-16", _text_grid,
         ("align", "run", "a.wav", "--textgrid", "a.TextGrid"), 0, r"a .*\ns .*\ni .*\nm .*\na ",
         shown=1),
    Case(14, "a constant level of 0.3", _write("flat.wav", np.full(RATE, 9830, np.int16)),
         (*TRANSCRIBE, "flat.wav"), 0, r"^flat.wav\t\n$"),
    Case(14, "speech on an offset of 0.3", _write("dc.wav", _speech() // 2 + 9830),
         (*TRANSCRIBE, "dc.wav"), 0, rf"^dc.wav{RIGHT}$"),
    Case(15, "a WAV named `.txt`", _renamed("a.txt"), (*TRANSCRIBE, "a.txt"), 0,
         rf"^a.txt{RIGHT}$"),
    Case(16, "equal names from two folders into one", _same_names,
         (*TRANSCRIBE, "monday/take.wav", "tuesday/take.wav", "--out", "out"), 0,
         r"out/take.*\.txt\nout/take.*\.txt\n"),
    Case(18, "a Lhotse manifest whose recording is a command", _hidden_command,
         ("corpora", "prepare", "lhotse", "--from", "cuts.jsonl"), 1,
         r"^phoneme-moe: .*cuts.jsonl:1: .*command"),
    Case(18, "a run whose `model.json` has a number of 5,000 digits", _long_number,
         ("transcribe", "run", "a.wav"), 1, r"^phoneme-moe: run/model.json: [^\n]*\n$"),
    Case(18, "weights whose header promises four terabytes", _promise,
         ("transcribe", "run", "a.wav"), 1, r"^phoneme-moe: run/model.safetensors: [^\n]*\n$"),
    Case(18, "a run that was killed before its calibration", _half_trained,
         ("transcribe", "run", "a.wav"), 1,
         r"run: its training is not finished .*finish it with: phoneme-moe train .* --resume\n$"),
    Case(18, "a file name that is a formula, in CSV", _formula,
         (*TRANSCRIBE, "=cmd|'calc'!A0.wav", "--format", "csv"), 0, r"\n'=cmd", shown=1),
    Case(18, "a YAML bomb as a recipe", _bomb, ("train", "bomb.yaml"), 1,
         r"^phoneme-moe: bomb.yaml: [^\n]*\n$"),
)  # fmt: skip
