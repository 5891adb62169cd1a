"""``phoneme-moe corpora``: the three commands, and every kind of problem that check must find."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from phoneme_moe.cli.corpora import app
from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.errors import InputError

from .layouts import make_fsdd, make_kaldi, write_audio, write_table

runner = CliRunner()


@pytest.fixture
def fsdd(tmp_path: Path) -> tuple[Path, Path]:
    """The source folder of audio and the prepared corpus."""
    source = make_fsdd(tmp_path / "fsdd", speakers=("ann",))
    return source / "recordings", prepare_corpus("fsdd", source)


def edit_cut(
    folder: Path, split: str, id: str, new_id: str | None = None, **changes: object
) -> None:
    """Changes the supervision of one cut in a manifest."""
    file = folder / f"cuts_{split}.jsonl.gz"
    cuts = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    (cut,) = [cut for cut in cuts if cut["id"] == id]
    cut["id"] = new_id or id
    cut["supervisions"][0].update(changes)
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, cuts)).encode()))


def test_a_sound_corpus(fsdd: tuple[Path, Path]) -> None:
    result = runner.invoke(app, ["check", "fsdd"])
    assert result.exit_code == 0, result.output
    assert "fsdd: no problems" in result.stdout
    assert "IY" in result.stdout


def test_every_kind_of_problem_is_found(fsdd: tuple[Path, Path]) -> None:
    audio, folder = fsdd
    (audio / "0_ann_0.wav").unlink()
    (audio / "1_ann_0.wav").write_bytes(b"noise")
    soundfile.write(audio / "2_ann_0.wav", np.zeros(0), 8_000)
    write_audio(audio / "3_ann_0.wav", 0.05, 8_000)
    soundfile.write(audio / "4_ann_0.wav", np.full(800, np.nan), 8_000, subtype="FLOAT")
    soundfile.write(audio / "5_ann_0.wav", np.zeros(800), 8_000)
    write_audio(audio / "6_ann_0.wav", 0.1, 16_000)
    edit_cut(folder, "test", "7_ann_0", alignment={"phoneme": [["S", 0.0, 0.5]]})
    late_first = {"phoneme": [["EY", 0.05, 0.01], ["T", 0.0, 0.01]]}
    edit_cut(folder, "test", "8_ann_0", alignment=late_first)
    edit_cut(folder, "test", "9_ann_0", custom={})
    edit_cut(folder, "dev", "0_ann_5", speaker="zoe")
    edit_cut(folder, "dev", "1_ann_5", new_id="1_ann_10")
    edit_cut(folder, "dev", "2_ann_5", custom={"phonemes": ["T", "XX"]})
    result = runner.invoke(app, ["check", "fsdd"])
    assert result.exit_code == 1
    problems = {
        "0_ann_0.wav: is missing",
        "1_ann_0.wav: is unreadable",
        "2_ann_0.wav: is empty",
        "3_ann_0.wav: is truncated: has 400 samples, expected 800",
        "4_ann_0.wav: is unreadable (800 samples are NaN or infinite)",
        "5_ann_0.wav: is silent",
        "6_ann_0.wav: has 16000 Hz, expected 8000 Hz as in the manifest",
        "utterance 7_ann_0 has a phoneme until 0.5 s, but lasts 0.1 s",
        "utterance 8_ann_0 has its phonemes out of order",
        "utterance 9_ann_0 has no phonemes",
        "utterance 0_ann_5 has the speaker 'zoe'",
        "utterance 1_ann_10: is in train and again in dev",
        "utterance 2_ann_5 has phonemes that corpus.json does not list: XX",
    }
    for problem in problems:
        assert problem in result.stdout, problem
    assert str(result.exception) == f"fsdd: found {len(problems)} problems, expected none"


def test_what_breaks_training_is_found(tmp_path: Path) -> None:
    folder = make_kaldi(tmp_path / "k", {f"ana-{number}": "b a" for number in range(4)})
    write_audio(folder / "wav" / "ana-0.wav", 0.015)
    write_table(folder / "text", {f"ana-{n}": "b " * (30 if n == 2 else 2) for n in range(4)})
    prepared = prepare_corpus("kaldi", folder)
    with gzip.open(prepared / "cuts_dev.jsonl.gz", "wb"):
        pass
    result = check_corpus(load_corpus("kaldi"))
    found = {problem.where: problem.what for problem in result.problems}
    assert found == {
        str(folder / "wav" / "ana-0.wav"): "utterance ana-0 has 2 phonemes in 0.015 s",
        str(folder / "wav" / "ana-2.wav"): "utterance ana-2 has 30 phonemes in 0.2 s",
        "split dev": "has no utterances",
    }


def test_prepare_and_list(tmp_path: Path, data_folder: Path) -> None:
    source = str(make_fsdd(tmp_path / "source"))
    first = runner.invoke(app, ["prepare", "fsdd", "--from", source, "--as", "digits"])
    assert first.exit_code == 0, first.output
    assert f"digits: prepared in {data_folder / 'digits'}" in first.stdout
    assert "19 phonemes" in first.stdout
    again = runner.invoke(app, ["prepare", "fsdd", "--from", source, "--as", "digits"])
    assert "digits: already prepared" in again.stdout
    listed = runner.invoke(app, ["list"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0, listed.output
    assert "digits" in listed.stdout
    assert "phoneme-moe corpora prepare speechocean762 --from DIR" in listed.stdout


def test_what_is_left_out_is_reported(tmp_path: Path) -> None:
    texts = {f"ana-{number}": "b a" for number in range(4)} | {"ana-9": ""}
    source = str(make_kaldi(tmp_path / "k", texts))
    for state in ("prepared", "already prepared"):
        result = runner.invoke(app, ["prepare", "kaldi", "--from", source])
        assert f"kaldi: {state} in" in result.stdout
        lines = result.stdout.splitlines()
        assert lines[-1] == f"utterances without words, left out: 1 (first: {source}/text:5)"


def test_user_errors_reach_the_door() -> None:
    result = runner.invoke(app, ["prepare", "fsdd"])
    assert isinstance(result.exception, InputError)
    result = runner.invoke(app, ["check", "fsdd"])
    assert isinstance(result.exception, InputError)


def test_near_twins_are_notes(tmp_path: Path) -> None:
    texts = {f"ana-{number}": "a aː ɛ b" if number < 5 else "ˈa ε b b" for number in range(9)}
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", texts), as_name="twins")
    result = check_corpus(load_corpus("twins"))
    assert result.problems == []
    assert result.twins == [{"a": 5, "aː": 5, "ˈa": 4}, {"ɛ": 5, "ε": 4}]
    outcome = runner.invoke(app, ["check", "twins"])
    assert outcome.exit_code == 0
    assert "note: nearly the same phonemes: a 5, aː 5, ˈa 4\n" in outcome.output
    assert outcome.output.endswith("twins: no problems\n")
