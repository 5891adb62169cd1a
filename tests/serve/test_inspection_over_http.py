"""What the page asks for: weights, what if, references, speakers, examples, corrections."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from serve_sound import wav
from starlette.testclient import TestClient

import phoneme_moe
from phoneme_moe.labels.textgrid import read_textgrid
from phoneme_moe.pipeline import Trained
from phoneme_moe.serve.inspection import changes_between
from phoneme_moe.serve.nearest_speakers import jensen_shannon_distance
from phoneme_moe.training import new_speaker

Serving = Callable[..., TestClient]


def inspect(client: TestClient, sound: bytes, run: str | None = None, **view: Any) -> Any:
    answer = client.post(
        "/v1/inspect",
        params={"run": run} if run else {},
        files={"file": ("word.wav", sound)},
        data={"view": json.dumps(view)},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def sparse_name(client: TestClient) -> str:
    return client.get("/v1/runs").json()["runs"][1]["name"]


def test_the_weights_of_the_frames_have_the_mean_of_the_transcript(
    client: TestClient, sound: bytes
) -> None:
    found = inspect(client, sound)
    weights = np.array(found["weights"])
    assert weights.shape[1] == 3
    assert np.allclose(weights.sum(axis=1), 1.0, atol=0.002)
    mean = [found["routing"][name] for name in found["experts"]]
    assert np.allclose(weights.mean(axis=0), mean, atol=0.001)
    seconds = len(weights) * found["frame_seconds"]
    assert seconds == pytest.approx(found["transcript"]["duration"], abs=0.04)


def test_an_expert_alone_has_all_the_weight(client: TestClient, sound: bytes) -> None:
    before = inspect(client, sound)
    phonemes = " ".join(before["transcript"]["phonemes"])
    alone = inspect(client, sound, changes=[{"only_expert": "bob"}], compare=phonemes)
    assert alone["routing"] == {"ann": 0.0, "bob": 1.0, "carol": 0.0}
    assert alone["comparison"]["log_probability"] < before["log_probability"] + 1e-6
    same = inspect(client, sound, compare=phonemes)
    assert same["comparison"]["log_probability"] == before["log_probability"]
    assert {change["kind"] for change in same["comparison"]["changes"]} == {"same"}


def test_layers_are_changed_together_and_each_on_its_own(client: TestClient, sound: bytes) -> None:
    name = sparse_name(client)
    layers = [layer["name"] for layer in client.get("/v1/runs").json()["runs"][1]["layers"]]
    first = {"layer": layers[0], "without_expert": "expert_0"}
    second = {"layer": layers[1], "only_expert": "expert_2"}
    both = inspect(client, sound, name, changes=[first, second], layer=layers[0])
    assert both["routing"]["expert_0"] == 0.0
    assert inspect(client, sound, name, changes=[first, second], layer=layers[1])["routing"] == {
        "expert_0": 0.0, "expert_1": 0.0, "expert_2": 1.0, "expert_3": 0.0
    }  # fmt: skip
    one = inspect(client, sound, name, changes=[first], layer=layers[1])
    assert one["routing"]["expert_2"] < 1.0


def test_weights_of_another_speaker_and_equal_ones(client: TestClient, sound: bytes) -> None:
    equal = inspect(client, sound, changes=[{"gate_from": "uniform"}])
    assert set(equal["routing"].values()) == {0.3333}
    bobs = inspect(client, sound, changes=[{"gate_from": "bob"}])
    assert bobs["routing"]["bob"] > 0.34
    assert len({tuple(frame) for frame in bobs["weights"]}) == 1


def test_errors_against_what_was_said(client: TestClient, sound: bytes) -> None:
    found = inspect(client, sound, reference="a s i m a")
    transcript = found["transcript"]["phonemes"]
    reference = found["reference"]
    wrong = [change for change in reference["changes"] if change["kind"] != "same"]
    assert reference["errors"] == len(wrong)
    assert reference["error_rate"] == len(wrong) / 5
    assert [c["after"] for c in reference["changes"] if c["after"]] == transcript


@given(*[st.lists(st.sampled_from("abc"), max_size=6)] * 2)
def test_changes_lead_from_one_sequence_to_the_other(before: list[str], after: list[str]) -> None:
    changes = changes_between(before, after)
    assert [change.before for change in changes if change.before] == before
    assert [change.after for change in changes if change.after] == after
    assert all((change.before == change.after) == (change.kind == "same") for change in changes)


@pytest.mark.parametrize(
    ("view", "error"),
    [
        ("{", "view: "),
        ('{"what": 1}', "view: unknown key what"),
        ('{"changes": [{"only_expert": "zoe"}]}', "only_expert: "),
        ('{"layer": "block_9"}', "layer: no layer 'block_9'"),
        ('{"reference": "hello there"}', "'hello' is not a phoneme of "),
        ('{"changes": [{"only_expert": "ann"}, {"only_expert": "bob"}]}', "recognize: found 2"),
    ],
)
def test_a_wrong_view_is_one_line(client: TestClient, sound: bytes, view: str, error: str) -> None:
    answer = client.post("/v1/inspect", files={"file": ("word.wav", sound)}, data={"view": view})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)


def test_examples_are_utterances_of_test_with_their_sound(client: TestClient) -> None:
    found = client.get("/v1/examples").json()
    assert found["split"] == "test"
    assert {one["speaker"] for one in found["examples"]} == {"ann", "bob", "carol", "dan"}
    first = found["examples"][0]
    answer = client.get("/v1/examples/audio", params={"id": first["id"]})
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert len(samples) / rate == pytest.approx(first["seconds"], abs=0.001)
    assert client.get("/v1/examples/audio?id=none").status_code == 400


def test_a_voice_is_nearest_to_itself(client: TestClient, recognized: Trained) -> None:
    report = json.loads((recognized.run.folder / "report" / "routing.json").read_text())
    index = report["speakers"].index("carol")
    weights = {"weights": report["weights"][index]}
    found = client.post("/v1/speakers", json=weights).json()
    assert found["nearest"][0]["speaker"] == "carol"
    assert found["nearest"][0]["distance"] == 0.0
    assert found["sentence"].startswith("You are ")
    for wrong in ({"weights": [1.0]}, {"weights": [0, 0, 0]}, {"weights": [-1, 1, 1]}, [1], "x"):
        assert client.post("/v1/speakers", json=wrong).status_code == 400


@given(st.lists(st.floats(0.001, 1.0), min_size=6, max_size=6))
def test_the_distance_is_a_bounded_metric(numbers: list[float]) -> None:
    p, q = np.array(numbers[:3]), np.array(numbers[3:])
    p, q = p / p.sum(), q / q.sum()
    there = jensen_shannon_distance(p, q[None])[0]
    assert 0 <= there <= 1
    assert there == pytest.approx(jensen_shannon_distance(q, p[None])[0])
    assert jensen_shannon_distance(p, p[None])[0] == pytest.approx(0.0, abs=1e-7)
    disjoint = jensen_shannon_distance(np.array([1.0, 0.0]), np.array([[0.0, 1.0]]))[0]
    assert disjoint == pytest.approx(1.0)


def test_the_report_is_shown_in_a_frame_of_this_page_only(client: TestClient) -> None:
    answer = client.get("/report/recognize")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert "<title>" in answer.text
    assert client.get("/report/nobody").status_code == 400


def labels(*phonemes: str, step: float = 0.1) -> str:
    segments = [
        {"phoneme": phoneme, "start": round(i * step, 3), "end": round((i + 1) * step, 3)}
        for i, phoneme in enumerate(phonemes)
    ]
    return json.dumps({"segments": segments})


def test_corrections_come_back_as_labelled_speech(client: TestClient, tmp_path: Path) -> None:
    sounds = [wav(["a", "s", "i"], seed=seed) for seed in range(2)]
    answer = client.post(
        "/v1/labelled?speaker=me",
        files=[("file", (f"{i}.wav", sound)) for i, sound in enumerate(sounds)],
        data={"labels": [labels("a", "s", "i"), labels("a", "i")]},
    )
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)
    grid = read_textgrid(tmp_path / "me" / "0002.TextGrid")
    found = [(one.label, one.start, one.end) for one in grid.tiers[0].intervals if one.label]
    assert found == [("a", 0.0, 0.1), ("i", 0.1, 0.2)]
    samples, rate = soundfile.read(tmp_path / "me" / "0002.wav")
    expected, _ = soundfile.read(io.BytesIO(sounds[1]))
    assert rate == 8000
    assert len(samples) == len(expected)


@pytest.mark.parametrize("name", ["textgrid", "ctm", "srt", "json", "csv"])
def test_a_corrected_utterance_in_every_format(client: TestClient, sound: bytes, name: str) -> None:
    answer = client.post(
        f"/v1/format/{name}",
        files={"file": ("wörd.wav", sound)},
        data={"labels": labels("a", "s")},
    )
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    assert '"s"' in answer.text or " s" in answer.text or ",s," in answer.text


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (labels("q"), "phoneme 'q' is not in the phoneme set"),
        (labels(*"asim" * 10), "word.wav: phonemes end at 4.000 s"),
        ('{"segments": []}', "labels of word.wav: segments"),
        (
            '{"segments": [{"phoneme": "a", "start": 0.2, "end": 0.3}, '
            '{"phoneme": "s", "start": 0.1, "end": 0.4}]}',
            "word.wav: phoneme 2 (s): found 0.100 to 0.400 s, expected it after 0.300 s",
        ),
        ('{"segments": [{"phoneme": "a", "start": NaN, "end": 1}]}', "labels of word.wav: "),
        ("[]", "labels of word.wav: "),
    ],
)
def test_impossible_corrections_are_refused(
    client: TestClient, sound: bytes, given: str, error: str
) -> None:
    answer = client.post(
        "/v1/labelled", files={"file": ("word.wav", sound)}, data={"labels": given}
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)


@pytest.mark.parametrize("speaker", ["", "../x", "a b", "x" * 41, "<b>", "-x"])
def test_a_speaker_is_a_plain_name(client: TestClient, sound: bytes, speaker: str) -> None:
    answer = client.post(
        "/v1/labelled",
        params={"speaker": speaker},
        files={"file": ("word.wav", sound)},
        data={"labels": labels("a")},
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("speaker: ")


def test_nothing_is_kept_without_a_folder(client: TestClient, sound: bytes) -> None:
    assert client.post("/v1/recordings", content=sound).status_code == 400
    answer = client.post(
        "/v1/labelled?to=folder", files={"file": ("a.wav", sound)}, data={"labels": labels("a")}
    )
    assert answer.status_code == 400
    assert "without a folder" in answer.json()["error"]


def test_what_is_kept_comes_back_by_its_identifier(
    serving: Serving, sound: bytes, tmp_path: Path
) -> None:
    client = serving(keep=tmp_path / "kept")
    first = client.post("/v1/recordings", content=sound).json()["id"]
    assert client.post("/v1/recordings", content=sound).json()["id"] == first
    answer = client.get(f"/v1/recordings/{first}")
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert (rate, answer.headers["content-type"]) == (16_000, "audio/wav")
    assert len(samples) == pytest.approx(2 * len(soundfile.read(io.BytesIO(sound))[0]), abs=2)
    assert client.get(f"/v1/recordings/{'0' * 32}").status_code == 404
    saved = client.post(
        "/v1/labelled?to=folder&speaker=me",
        files={"file": ("a.wav", sound)},
        data={"labels": labels("a")},
    ).json()
    again = client.post(
        "/v1/labelled?to=folder&speaker=me",
        files={"file": ("a.wav", sound)},
        data={"labels": labels("s")},
    ).json()
    assert saved["folder"] == again["folder"]
    names = sorted(path.name for path in Path(again["folder"]).iterdir())
    assert names == ["0001.TextGrid", "0001.wav", "0002.TextGrid", "0002.wav"]


def finished(client: TestClient, job: Any) -> Any:
    while job["state"] in {"waiting", "running"}:
        time.sleep(0.05)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    return job


def test_an_adapted_run_is_served_at_once(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_speaker, "EXPERT_STEPS", 20)
    monkeypatch.setattr(new_speaker, "GATE_STEPS", 20)
    client = serving(keep=tmp_path)
    spoken = [["a", "s", "i"], ["m", "a", "s"], ["i", "m", "a"]] * 2
    sounds = [wav(phonemes, "dan", seed) for seed, phonemes in enumerate(spoken)]
    answer = client.post(
        "/v1/adapt?speaker=dan&method=expert",
        files=[("file", (f"{i}.wav", sound)) for i, sound in enumerate(sounds)],
        data={"labels": [labels(*phonemes, step=0.08) for phonemes in spoken]},
    )
    assert answer.status_code == 200, answer.text
    job = finished(client, answer.json())
    assert job["state"] == "done", job["error"]
    result = job["result"]
    assert (result["learned"], result["held_out"]) == (4, 2)
    names = {run["name"]: run for run in client.get("/v1/runs").json()["runs"]}
    assert "dan" in names[result["run"]]["layers"][0]["experts"]
    transcript = client.post(f"/v1/transcribe?run={result['run']}", content=sounds[0]).json()
    assert "dan" in transcript["routing"]
    assert phoneme_moe.load(result["folder"]).recognizer.expert_names[-1] == "dan"


def test_too_few_utterances_fail_in_one_line(client: TestClient, sound: bytes) -> None:
    answer = client.post(
        "/v1/adapt", files={"file": ("a.wav", sound)}, data={"labels": labels("a")}
    )
    job = finished(client, answer.json())
    assert job["state"] == "failed"
    assert "found 1 recordings, expected at least 3" in job["error"]


def test_a_run_without_a_gate_does_not_adapt(client: TestClient, sound: bytes) -> None:
    answer = client.post(
        "/v1/adapt",
        params={"run": sparse_name(client)},
        files={"file": ("a.wav", sound)},
        data={"labels": labels("a")},
    )
    assert answer.status_code == 400
    assert client.get("/v1/jobs/none").status_code == 400


def test_a_missing_report_is_made(
    serving: Serving, recognized: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phoneme_moe.serve.served_runs import ServedRun

    monkeypatch.setattr(ServedRun, "report_page", None)
    client = serving()
    assert client.get("/report/recognize").status_code == 404
    assert "no routing report" in client.post("/v1/speakers", json={"weights": [1, 0, 0]}).text
    job = finished(client, client.post("/v1/report").json())
    assert job["state"] == "done", job["error"]
    assert client.get("/report/recognize").status_code == 200
    assert client.post("/v1/speakers", json={"weights": [1, 0, 0]}).status_code == 200


def test_formats_that_browsers_cannot_play_become_wav(client: TestClient, tmp_path: Path) -> None:
    samples, rate = soundfile.read(io.BytesIO(wav(["a", "s"])))
    soundfile.write(tmp_path / "a.aiff", samples, rate)
    content = (tmp_path / "a.aiff").read_bytes()
    answer = client.post("/v1/audio", files={"file": ("a.aiff", content)})
    played, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 16_000
    assert len(played) == pytest.approx(2 * len(samples), abs=2)
