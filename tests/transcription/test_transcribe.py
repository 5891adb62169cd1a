from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
import tiny

from phoneme_moe.audio.waveform import Samples
from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.errors import InputError
from phoneme_moe.pipeline import Trained
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription.run_engine import RunEngine
from phoneme_moe.transcription.transcribe import transcribe_file
from phoneme_moe.transcription.transcript import Transcript
from phoneme_moe.transcription.writers.documents import to_dict, to_json

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "transcript.schema.json"


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """A recording of ann, of which nothing was trained on."""
    samples, _ = tiny.speak(["a", "s", "i", "m", "a"], "ann", np.random.default_rng(99))
    path = tmp_path / "ann.wav"
    soundfile.write(path, samples, tiny.RATE)
    return path


def check(transcript: Transcript, trained: Trained) -> None:
    edges = [time for s in transcript.segments for time in (s.start, s.end)]
    assert edges == sorted(edges)
    assert all(0 <= time <= transcript.duration for time in edges)
    assert all(segment.start < segment.end for segment in transcript.segments)
    assert all(0 <= segment.confidence <= 1 for segment in transcript.segments)
    assert tuple(transcript.routing) == trained.run.recognizer.expert_names
    assert sum(transcript.routing.values()) == pytest.approx(1, abs=1e-5)
    assert all(p in trained.run.recognizer.phonemes for p in transcript.phonemes)


def test_a_transcript_lies_within_its_recording(recognized: Trained, spoken: Path) -> None:
    transcript = transcribe_file(RunEngine(recognized.run), spoken)
    assert transcript.duration == pytest.approx(soundfile.info(spoken).duration, abs=1e-4)
    assert transcript.phonemes
    check(transcript, recognized)


def test_most_phonemes_are_recognised_where_they_are_spoken(
    recognized: Trained, tones: PreparedCorpus
) -> None:
    near = total = 0
    for cut in tones.cuts("train"):
        if cut.supervisions[0].speaker == "dan":
            continue
        transcript = transcribe_file(RunEngine(recognized.run), cut.recording.sources[0].source)
        for segment in transcript.segments:
            total += 1
            near += any(
                item.symbol == segment.phoneme
                and item.start - 0.05 < segment.start < item.start + item.duration + 0.05
                for item in cut.supervisions[0].alignment["phoneme"]
            )
    assert total > 50
    assert near > 0.7 * total


def test_the_answer_does_not_depend_on_container_rate_or_level(
    recognized: Trained, spoken: Path, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(spoken)
    expected = transcribe_file(RunEngine(recognized.run), spoken)
    soundfile.write(tmp_path / "a.flac", samples, rate, subtype="PCM_24")
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples] * 2, 1), rate, subtype="FLOAT")
    soundfile.write(tmp_path / "quiet.wav", samples / 50, rate, subtype="FLOAT")
    for name in ("a.flac", "stereo.wav", "quiet.wav"):
        found = transcribe_file(RunEngine(recognized.run), tmp_path / name)
        assert found.phonemes == expected.phonemes
        for segment, reference in zip(found.segments, expected.segments, strict=True):
            assert segment.start == pytest.approx(reference.start, abs=0.021)


@pytest.mark.parametrize(
    ("fixture", "seconds"),
    [
        *(("recognized", seconds) for seconds in (0.05, 0.06, 0.15, 20.0)),
        *(("classified", seconds) for seconds in (0.05, 0.06, 0.15, 2.0)),
    ],
)
def test_recordings_of_any_length_are_transcribed(
    fixture: str, seconds: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * tiny.RATE))
    soundfile.write(tmp_path / "n.wav", noise, tiny.RATE)
    check(transcribe_file(RunEngine(trained.run), tmp_path / "n.wav"), trained)


@pytest.mark.parametrize("fixture", ["recognized", "classified"])
def test_digital_silence_is_an_empty_transcript(
    fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    soundfile.write(tmp_path / "silence.wav", np.zeros(tiny.RATE), tiny.RATE)
    transcript = transcribe_file(RunEngine(trained.run), tmp_path / "silence.wav")
    assert transcript.phonemes == ()
    assert transcript.duration == 1


@pytest.mark.parametrize("start", [0.0, 0.3, 0.7])
def test_a_classifier_finds_the_token_and_names_it_once(
    classified: Trained, tmp_path: Path, start: float
) -> None:
    random = np.random.default_rng(3)
    sound = tiny.sound_of("a", "ann", 0.2, random)
    samples = np.concatenate([np.zeros(round(start * tiny.RATE)), sound, np.zeros(tiny.RATE // 3)])
    soundfile.write(
        tmp_path / "t.wav", samples + 0.003 * random.standard_normal(len(samples)), tiny.RATE
    )
    transcript = transcribe_file(RunEngine(classified.run), tmp_path / "t.wav")
    check(transcript, classified)
    (segment,) = transcript.segments
    assert segment.phoneme == "a"
    assert segment.start == pytest.approx(max(start - 0.06, 0), abs=0.02)
    assert segment.end - segment.start <= 0.151


def test_a_classifier_of_tokens_does_not_transcribe_sentences(classified: Trained) -> None:
    speech = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * tiny.RATE)
    with pytest.raises(InputError, match=r"^array: lasts 3\.0 s, but .* classifies single tokens"):
        transcribe_file(RunEngine(classified.run), Samples(speech, tiny.RATE))


def test_a_loaded_run_transcribes_as_the_trained_one(recognized: Trained, spoken: Path) -> None:
    found = transcribe_file(RunEngine(load_run(recognized.run.folder)), spoken)
    assert found == transcribe_file(RunEngine(recognized.run), spoken)


def test_real_recordings_are_all_transcribed_but_the_headerless_one(
    recognized: Trained, real_recordings: Path
) -> None:
    files = [path for path in sorted(real_recordings.iterdir()) if path.suffix != ".tsv"]
    assert len(files) == 22
    failed = []
    for path in files:
        try:
            transcript = transcribe_file(RunEngine(recognized.run), path)
        except InputError as error:
            failed.append((path.name, str(error).startswith(f"{path}: ")))
            continue
        check(transcript, recognized)
        assert transcript.duration == pytest.approx(soundfile.info(path).duration, abs=0.1)
    assert failed == [("goforward.s16le.16k.raw", True)]


def test_a_transcript_as_json_fits_its_schema(
    recognized: Trained, classified: Trained, spoken: Path, tmp_path: Path
) -> None:
    schema = json.loads(SCHEMA.read_text())
    token = tmp_path / "token.wav"
    soundfile.write(token, tiny.sound_of("a", "ann", 0.3, np.random.default_rng(3)), tiny.RATE)
    for trained, file in ((recognized, spoken), (classified, token)):
        transcript = transcribe_file(RunEngine(trained.run), file)
        line = to_json(transcript)
        assert line.count("\n") == 1
        data = json.loads(line)
        assert data == to_dict(transcript)
        jsonschema.validate(data, schema, jsonschema.Draft202012Validator)
        assert data["file"] == str(file)
        assert data["recipe"] == trained.run.recipe.name
        assert data["phonemes"] == [segment["phoneme"] for segment in data["segments"]]
        assert sum(data["routing"].values()) == pytest.approx(1, abs=1e-3)
        assert all(segment["end"] <= data["duration"] + 5e-4 for segment in data["segments"])
