"""Transcripts and alignments over HTTP are those of the commands."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jsonschema import Draft202012Validator
from serve_sound import wav
from starlette.testclient import TestClient

import phoneme_moe
from phoneme_moe.pipeline import Trained
from phoneme_moe.transcription.formats import FORMATS

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture
def file(tmp_path: Path, sound: bytes) -> Path:
    path = tmp_path / "word.wav"
    path.write_bytes(sound)
    return path


def test_a_form_and_a_body_give_the_transcript_of_the_command(
    client: TestClient, recognized: Trained, sound: bytes, file: Path
) -> None:
    run = phoneme_moe.load(recognized.run.folder)
    expected = run.transcribe(file).to_dict()
    form = client.post("/v1/transcribe", files={"file": ("word.wav", sound)})
    body = client.post("/v1/transcribe?name=word.wav", content=sound)
    for answer in (form, body):
        assert answer.status_code == 200
        document = answer.json()
        assert document["file"] == "word.wav"
        assert document | {"file": ""} == expected | {"file": ""}
    schema = json.loads((SCHEMAS / "transcript.schema.json").read_text())
    Draft202012Validator(schema).validate(form.json())


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("text/plain", "txt"),
        ("text/csv", "csv"),
        ("text/vtt", "vtt"),
        ("application/x-subrip", "srt"),
        ("application/x-textgrid", "textgrid"),
        ("application/x-ctm", "ctm"),
        ("text/html, application/x-ctm;q=0.5", "ctm"),
        ("*/*", "json"),
    ],
)
def test_the_header_accept_chooses_the_format(
    client: TestClient, recognized: Trained, sound: bytes, file: Path, accept: str, name: str
) -> None:
    answer = client.post(
        "/v1/transcribe", files={"file": ("word.wav", sound)}, headers={"accept": accept}
    )
    transcript = phoneme_moe.load(recognized.run.folder).transcribe(file)
    format = FORMATS[name]
    expected = format.header + format.body(transcript)
    assert answer.text.replace("word", "") == expected.replace(str(file), ".wav").replace(
        "word", ""
    )


def test_options_reach_the_decoder(client: TestClient, recognized: Trained, file: Path) -> None:
    run = phoneme_moe.load(recognized.run.folder)
    given = {"files": {"file": ("word.wav", file.read_bytes())}}
    alone = client.post("/v1/transcribe?only_expert=bob", **given).json()
    expected = run.transcribe(file, only_expert="bob").to_dict()
    assert alone["segments"] == expected["segments"]
    assert alone["routing"]["bob"] == 1.0
    nbest = client.post("/v1/transcribe?beam=4&nbest=3", **given).json()
    assert nbest["alternatives"] == run.transcribe(file, beam=4, nbest=3).to_dict()["alternatives"]


def test_a_channel_is_chosen(client: TestClient, sound: bytes, tmp_path: Path) -> None:
    samples, rate = soundfile.read(io.BytesIO(sound))
    soundfile.write(tmp_path / "two.wav", np.stack([0 * samples, samples], axis=1), rate)
    two = (tmp_path / "two.wav").read_bytes()
    alone = client.post("/v1/transcribe", content=sound).json()
    assert client.post("/v1/transcribe?channel=2", content=two).json() == alone
    assert client.post("/v1/transcribe?channel=1", content=two).json()["phonemes"] == []


def test_an_alignment_is_that_of_the_command(
    client: TestClient, recognized: Trained, sound: bytes, file: Path
) -> None:
    answer = client.post("/v1/align?phonemes=a s i m a", files={"file": ("word.wav", sound)})
    alignment = phoneme_moe.load(recognized.run.folder).align(file, "a s i m a")
    document = answer.json()
    assert document["phonemes"] == ["a", "s", "i", "m", "a"]
    goodness = [segment["goodness"] for segment in document["segments"]]
    assert goodness == pytest.approx(alignment.goodness, abs=1e-4)
    schema = json.loads((SCHEMAS / "alignment.schema.json").read_text())
    Draft202012Validator(schema).validate(document)


def test_a_text_is_aligned_with_the_servers_dictionary(
    serving: Callable[..., TestClient], sound: bytes, tmp_path: Path
) -> None:
    lexicon = tmp_path / "words.dict"
    lexicon.write_text("assi a s i\nma m a\n")
    client = serving(lexicon=lexicon)
    answer = client.post("/v1/align?text=Assi ma!", files={"file": ("word.wav", sound)})
    assert [word["word"] for word in answer.json()["words"]] == ["assi", "ma"]
    unknown = client.post("/v1/align?text=assi zu", files={"file": ("word.wav", sound)})
    assert unknown.status_code == 400
    assert unknown.json()["error"] == "text: 'zu' is not in the lexicon"


def test_runs_are_described_and_chosen_by_name(client: TestClient, sound: bytes) -> None:
    document = client.get("/v1/runs").json()
    gated, sparse = document["runs"]
    assert [layer["name"] for layer in gated["layers"]] == [""]
    assert gated["layers"][0]["experts"] == ["ann", "bob", "carol"]
    assert gated["adapts"]
    assert not sparse["adapts"]
    assert len(sparse["layers"]) >= 1
    answer = client.post(
        "/v1/transcribe", params={"run": sparse["name"]}, files={"file": ("word.wav", sound)}
    )
    assert set(answer.json()["routing"]) == set(sparse["layers"][-1]["experts"])


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/transcribe?run=nobody", "run: found 'nobody'"),
        ("/v1/transcribe?beam=x", "beam: found 'x': input should be a valid integer"),
        ("/v1/transcribe?symbols=/etc/passwd", "symbols: found '/etc/passwd'"),
        ("/v1/transcribe?what=1", "what: found '1': extra inputs are not permitted"),
        ("/v1/transcribe?nbest=3&beam=0", "nbest: found 3 with greedy decoding"),
        ("/v1/transcribe?only_expert=zoe", "only_expert: "),
        ("/v1/transcribe?channel=7", "word.wav: no channel 7: the file has 1"),
        ("/v1/align", "phonemes: expected phonemes or a text"),
        ("/v1/align?phonemes=a q", "phoneme 'q' is not in the phoneme set"),
        ("/v1/align?text=hello", "text: the server was started without a dictionary"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(
    client: TestClient, sound: bytes, path: str, error: str
) -> None:
    answer = client.post(path, files={"file": ("word.wav", sound)})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "empty"),
        (b"RIFF", "word.wav: "),
        (b"not audio at all" * 100, "word.wav: "),
        (wav(["a"])[:60], "word.wav: "),
        (b"<html><body>" * 1000, "word.wav: "),
    ],
)
def test_what_is_not_audio_is_refused_in_one_line(
    client: TestClient, content: bytes, error: str
) -> None:
    answer = client.post("/v1/transcribe", files={"file": ("word.wav", content)})
    assert answer.status_code == 400
    assert error in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\sounds\\a.wav", "a.wav"),
        ("<script>alert(1)<b>", "<script>alert(1)<b>"),
        ("a\u2028b\x07.wav", "ab.wav"),
        ("", "recording"),
        ("x" * 500, "x" * 120),
    ],
)
def test_a_name_is_only_a_name(client: TestClient, sound: bytes, name: str, shown: str) -> None:
    answer = client.post("/v1/transcribe", params={"name": name}, content=sound)
    assert answer.json()["file"] == shown


def test_a_form_without_a_file_says_what_it_has(client: TestClient, sound: bytes) -> None:
    answer = client.post("/v1/transcribe", files={"sound": ("word.wav", sound)})
    assert answer.json()["error"] == "file: found the fields sound, expected an audio file in file"


def test_an_unknown_format_lists_those_that_there_are(client: TestClient, sound: bytes) -> None:
    answer = client.post("/v1/transcribe", content=sound, headers={"accept": "image/png"})
    assert answer.status_code == 400
    assert "text/csv" in answer.json()["error"]


def test_silence_has_no_phonemes(client: TestClient, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 8000)
    content = (tmp_path / "silence.wav").read_bytes()
    answer = client.post("/v1/transcribe", content=content)
    assert answer.json()["phonemes"] == []
    inspected = client.post("/v1/inspect", files={"file": ("silence.wav", content)}).json()
    assert inspected["log_probability"] is None


def test_openapi_names_every_public_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/transcribe", "/v1/align", "/v1/runs", "/healthz", "/metrics"):
        assert path in paths
    body = paths["/v1/transcribe"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/octet-stream"}
