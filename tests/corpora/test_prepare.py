"""All or nothing, once, and in one place."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import communicate, run

from phoneme_moe.corpora import CORPORA, ensure_corpus, is_prepared, load_corpus, prepare_corpus
from phoneme_moe.corpora.manifest import AudioFile, Utterance, make_cut, write_corpus
from phoneme_moe.errors import InputError
from phoneme_moe.files.atomic import atomic_folder

from .layouts import make_fsdd, make_kaldi, write_audio


def test_a_second_preparation_does_nothing(tmp_path: Path, data_folder: Path) -> None:
    source = make_fsdd(tmp_path / "fsdd")
    assert not is_prepared("fsdd", source)
    folder = prepare_corpus("fsdd", source)
    assert folder == data_folder / "fsdd"
    assert is_prepared("fsdd", source)
    before = (folder / "corpus.json").stat().st_mtime_ns
    prepare_corpus("fsdd", source)
    assert (folder / "corpus.json").stat().st_mtime_ns == before


def test_another_source_replaces_the_corpus(tmp_path: Path, data_folder: Path) -> None:
    prepare_corpus("fsdd", make_fsdd(tmp_path / "one"))
    prepare_corpus("fsdd", make_fsdd(tmp_path / "two", speakers=("cleo",)))
    assert load_corpus("fsdd").speakers == ("cleo",)
    assert [path.name for path in data_folder.iterdir()] == ["fsdd"]


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    source = make_kaldi(tmp_path / "k", dict.fromkeys(("a-1", "a-2", "a-3"), "b"))
    prepare_corpus("kaldi", source)
    (source / "text").write_text("a-1 d\na-2 d\na-3 d\n")
    assert not is_prepared("kaldi", source)
    prepare_corpus("kaldi", source)
    assert load_corpus("kaldi").phonemes == ("d",)


def test_a_failed_preparation_leaves_nothing(tmp_path: Path, data_folder: Path) -> None:
    source = make_fsdd(tmp_path / "fsdd")
    (source / "recordings" / "3_ann_0.wav").write_bytes(b"not audio")
    with pytest.raises(InputError, match=r"3_ann_0.wav: not readable as audio"):
        prepare_corpus("fsdd", source)
    assert list(data_folder.iterdir()) == []


def test_a_killed_preparation_leaves_nothing_finished_and_the_next_one_tidies_up(
    tmp_path: Path, data_folder: Path
) -> None:
    code = (
        "import os, signal; from phoneme_moe.corpora import prepare; from pathlib import Path\n"
        "import phoneme_moe.corpora.manifest as manifest\n"
        "manifest.write_corpus = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"prepare.prepare_corpus('fsdd', Path({str(make_fsdd(tmp_path / 'fsdd'))!r}))"
    )
    assert run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not (data_folder / "fsdd").exists()
    assert list(data_folder.iterdir())
    with pytest.raises(InputError, match="corpora prepare fsdd"):
        load_corpus("fsdd")
    prepare_corpus("fsdd", tmp_path / "fsdd")
    assert [path.name for path in data_folder.iterdir()] == ["fsdd"]


def test_two_preparations_at_once_make_one_corpus(tmp_path: Path, data_folder: Path) -> None:
    source = make_fsdd(tmp_path / "fsdd")
    code = (
        "from phoneme_moe.corpora import prepare; from pathlib import Path\n"
        f"prepare.prepare_corpus('fsdd', Path({str(source)!r}))"
    )
    with atomic_folder(data_folder / "fsdd", lambda _: None) as folder:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line == "waiting for another process, which prepares fsdd\n"
        prepare_corpus("fsdd", source, as_name="other")
        shutil.copytree(data_folder / "other", folder, dirs_exist_ok=True)
    _, err = communicate(process)
    assert (process.returncode, err) == (0, "")
    # Named "other" in its description: the second process has left it as it is.
    assert load_corpus("fsdd").description["name"] == "other"


def test_a_corpus_is_prepared_to_the_same_bytes(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_fsdd(tmp_path / "fsdd")
    first = prepare_corpus("fsdd", source)
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "again"))
    monkeypatch.setattr(time, "time", lambda: 1e9)
    second = prepare_corpus("fsdd", source)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path, data_folder: Path) -> None:
    source = make_kaldi(data_folder / "mine", dict.fromkeys(("a-1", "a-2", "a-3"), "b"))
    with pytest.raises(InputError, match="exists and is not a prepared corpus"):
        prepare_corpus("kaldi", source, as_name="mine")
    assert (source / "text").is_file()


def test_a_corpus_that_made_its_audio_may_move(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_folder / "announcers"
    write_audio(folder / "audio" / "a.wav", 0.2, 16_000)
    audio = AudioFile("a", Path("audio/a.wav"), 16_000, 3_200)
    splits = {
        split: [make_cut(Utterance(split, "a", None, "ba", ("b", "a"), audio))]
        for split in ("train", "dev", "test")
    }
    write_corpus(folder, "announcers", splits, None, {})
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "announcers")
    monkeypatch.setenv("PHONEME_MOE_DATA", str(moved.parent))
    assert load_corpus("announcers").cuts("train")[0].load_audio().shape == (1, 3_200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fsd"}, r"'fsd' is unknown \(did you mean 'fsdd'\?\)"),
        ({"name": "fsdd"}, r"source: found none, expected the folder"),
        ({"name": "fsdd", "source": Path("/nowhere")}, r"source: /nowhere: no such"),
        (
            {"name": "announcers", "source": Path("/tmp")},
            r"source: found /tmp, but the audio of corpus 'announcers' is",
        ),
        ({"name": "fsdd", "source": Path("/tmp"), "as_name": "../x"}, r"as_name: found '../x'"),
        ({"name": "fsdd", "source": Path("/tmp"), "as_name": "kaldi"}, r"belongs to another"),
        (
            {"name": "fsdd", "source": Path("/tmp"), "lexicon": Path("/tmp")},
            r"lexicon: corpus 'fsdd' has no use",
        ),
        ({"name": "kaldi", "source": Path("/tmp"), "lexicon": Path("/no")}, r"lexicon: /no"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_corpus(**arguments)  # type: ignore[arg-type]


def test_loading_what_is_not_there(data_folder: Path) -> None:
    with pytest.raises(InputError, match=r"corpora prepare fsdd --from DIR") as raised:
        load_corpus("fsdd")
    assert str(data_folder / "fsdd") in str(raised.value)
    with pytest.raises(InputError, match=r"did you mean 'announcers'"):
        load_corpus("announcer")
    with pytest.raises(InputError, match="not prepared"):
        ensure_corpus("fsdd")
    (data_folder / "kaldi").mkdir(parents=True)  # no corpus.json: not prepared
    with pytest.raises(InputError, match="not prepared"):
        load_corpus("kaldi")


def test_damaged_and_newer_corpora(tmp_path: Path, data_folder: Path) -> None:
    folder = prepare_corpus("fsdd", make_fsdd(tmp_path / "fsdd"))
    file = folder / "corpus.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps({**description, "format_version": 2}))
    with pytest.raises(InputError, match="format version 2, but this release reads up to 1"):
        load_corpus("fsdd")
    file.write_text(json.dumps({**description, "phonemes": ["T", "T"]}))
    with pytest.raises(InputError, match=r"corpus.json: phonemes: found 'T' 2 times"):
        load_corpus("fsdd")
    file.write_text("{}")
    with pytest.raises(InputError, match=r"corpus\.json: name is missing; delete the folder"):
        load_corpus("fsdd")
    file.write_text(json.dumps(description))
    (folder / "cuts_dev.jsonl.gz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"cuts_dev.jsonl.gz:1: not valid JSON"):
        load_corpus("fsdd").cuts("dev")
    with pytest.raises(InputError, match="did you mean 'train'"):
        load_corpus("fsdd").cuts("trian")


def test_the_registry_is_light() -> None:
    assert {"announcers", "fsdd", "folder"} <= set(CORPORA)
    code = (
        "import sys, phoneme_moe.cli.corpora, phoneme_moe.corpora; "
        "print([m for m in ('lhotse', 'torch', 'numpy', 'parselmouth') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
