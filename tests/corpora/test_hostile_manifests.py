"""Lhotse manifests of strangers: nothing in them is run, fetched or opened but audio files."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.check import check_corpus
from phoneme_moe.corpora.cut_document import read_cuts
from phoneme_moe.corpora.json_lines import MAX_LINE
from phoneme_moe.errors import InputError

from .layouts import make_kaldi

Cut = dict[str, Any]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A prepared corpus of three utterances, one in each split."""
    prepare_corpus("kaldi", make_kaldi(tmp_path / "k", {f"ana-{i}": "b a" for i in range(3)}))
    return load_corpus("kaldi").folder


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and the paths that were fetched from it."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815  # http.server looks methods up by this name

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/a.wav", fetched
        listening.shutdown()
        thread.join()


def change(folder: Path, edit: Callable[[Cut], None]) -> None:
    """Edits the cuts of every split of a prepared corpus."""
    for file in folder.glob("cuts_*.jsonl.gz"):
        cuts = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        for cut in cuts:
            edit(cut)
        file.write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))


def source(kind: str, place: object) -> Cut:
    return {"type": kind, "channels": [0], "source": place}


def recording(kind: str, place: str) -> Cut:
    return {
        "id": "r",
        "sources": [source(kind, place)],
        "sampling_rate": 16_000,
        "num_samples": 3_200,
        "duration": 0.2,
    }


def array(kind: str, place: str) -> Cut:
    stored = {"storage_type": kind, "storage_path": place, "storage_key": "k", "shape": [1, 2]}
    return {"array": stored, "temporal_dim": 0, "frame_shift": 0.01, "start": 0}


def features(kind: str, place: str) -> Cut:
    return {
        "type": "fbank",
        "num_frames": 20,
        "num_features": 80,
        "frame_shift": 0.01,
        "sampling_rate": 16_000,
        "start": 0,
        "duration": 0.2,
        "storage_type": kind,
        "storage_path": place,
        "storage_key": "k",
    }


def reverb(kind: str, place: str) -> Cut:
    return {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": recording(kind, place)}}


def hostile(command: str, url: str) -> list[tuple[str, Callable[[Cut], None], str]]:
    """Name of each attack, the edit of a cut, and the key that the message must name."""

    def edit(*path: str | int, value: Any) -> Callable[[Cut], None]:
        def change_cut(cut: Cut) -> None:
            target: Any = cut
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value

        return change_cut

    first = ("recording", "sources", 0)
    spoken = ("supervisions", 0, "custom", "x")
    return [
        ("command", edit(*first, value=source("command", command)), "recording.sources.0"),
        ("url", edit(*first, value=source("url", url)), "recording.sources.0"),
        ("pipe", edit(*first, value=source("url", f"pipe:{command}")), "recording.sources.0"),
        ("shar", edit(*first, value=source("shar", "")), "recording.sources.0"),
        ("memory", edit(*first, value=source("memory", "UklGRg==")), "recording.sources.0"),
        ("unknown", edit(*first, value=source("shell", command)), "recording.sources.0"),
        ("number", edit(*first, value=source("file", 0)), "recording.sources.0: source"),
        ("NUL", edit(*first, value=source("file", "a\0b")), "recording.sources.0: source"),
        ("impulse", edit("recording", "transforms", value=[reverb("command", command)]), "transf"),
        ("cut", edit("custom", value={"target": recording("command", command)}), "sources"),
        ("array", edit("custom", value={"x": array("numpy_files", url)}), "pointer"),
        ("spoken", edit(*spoken, value=recording("url", url)), "supervisions.0.custom"),
        ("nested", edit(*spoken, value=[{"a": array("pickle", command)}]), "supervisions.0.cus"),
        ("features", edit("features", value=features("lilcom_url", url)), "features"),
        ("hdf5", edit("features", value=features("lilcom_hdf5", url)), "features"),
        ("mixed", edit("type", value="MixedCut"), "type: found 'MixedCut'"),
        ("class", edit("type", value="os.system"), "type: found 'os.system'"),
    ]


ATTACKS = [name for name, _, _ in hostile("", "")]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_run_or_fetched(
    corpus: Path, tmp_path: Path, server: tuple[str, list[str]], attack: str
) -> None:
    url, fetched = server
    canary = tmp_path / "canary"
    _, edit, key = hostile(f"touch '{canary}'", url)[ATTACKS.index(attack)]
    change(corpus, edit)
    opened = load_corpus("kaldi")
    for act in (
        lambda: prepare_corpus("lhotse", corpus, as_name="mine"),
        lambda: prepare_corpus("lhotse", corpus / "cuts_dev.jsonl.gz", as_name="mine"),
        lambda: opened.cuts("dev"),
        lambda: check_corpus(opened),
    ):
        with pytest.raises(InputError) as caught:
            act()
        assert "jsonl.gz:1: " in str(caught.value)
        assert key in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert not canary.exists()
    assert not fetched


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["command", "url", "impulse"])
def test_training_runs_and_fetches_nothing(
    corpus: Path, tmp_path: Path, server: tuple[str, list[str]], attack: str
) -> None:
    from phoneme_moe.pipeline import train

    url, fetched = server
    canary = tmp_path / "canary"
    change(corpus, hostile(f"touch '{canary}'", url)[ATTACKS.index(attack)][1])
    with pytest.raises(InputError, match=r"cuts_train\.jsonl\.gz:1: "):
        train("quick", tmp_path / "run", changes=["corpus.name=kaldi"], device="cpu")
    assert not canary.exists()
    assert not fetched


def test_an_address_in_place_of_a_path_is_a_file_that_is_not_there(
    corpus: Path, server: tuple[str, list[str]]
) -> None:
    url, fetched = server
    change(corpus, lambda cut: cut["recording"]["sources"].__setitem__(0, source("file", url)))
    opened = load_corpus("kaldi")
    problems = [problem.what for problem in check_corpus(opened).problems]
    assert problems == ["is missing"]  # once, since all utterances have the same recording
    assert not fetched


@pytest.mark.parametrize(
    ("keys", "value", "problem"),
    [
        ("id", ..., "id is missing"),
        ("id", 7, "id: found 7"),
        ("start", -0.1, "start: found -0.1"),
        ("duration", 0, "duration: found 0"),
        ("duration", 1e300, "duration: found 1e+300"),
        ("duration", 0.3, "duration: the cut ends at 0.3000 s, its recording at 0.2 s"),
        ("channel", 1, "channel: found 1, which no source of the recording has"),
        ("channel", "0", "channel: found '0'"),
        ("supervisions", [], "supervisions: found 0, expected 1"),
        ("supervisions", [{}, {}], "supervisions"),
        ("supervisions.0.speaker", 3, "supervisions.0.speaker: found 3"),
        ("supervisions.0.custom.phonemes", "b a", "supervisions.0.custom: phonemes: found 'b a'"),
        ("supervisions.0.custom.phonemes", [1], "supervisions.0.custom: phonemes: found [1]"),
        ("supervisions.0.custom.pronunciations", "b a", "custom: pronunciations: found 'b a'"),
        ("supervisions.0.custom.pronunciations", [["b a"]], "custom: pronunciations: found [["),
        ("supervisions.0.custom.pronunciations", [[["b", 1]]], "custom: pronunciations: found ["),
        ("supervisions.0.custom.pronunciations", [[[]]], "custom: pronunciations: found [[[]]]"),
        ("supervisions.0.custom.pronunciations", [[]], "custom: pronunciations.0: found 0 pron"),
        ("supervisions.0.custom.pronunciations", [[["b"]]], "first ones of ['b'], expected the"),
        ("supervisions.0.custom.pronunciations", [[["b", "a"]] * 101], "found 101 pronunciations"),
        ("supervisions.0.alignment", {"phoneme": [["b", -1, 0.1]]}, "alignment.phoneme.0.1: foun"),
        ("supervisions.0.alignment", {"phoneme": [["b", 0, 0.9]]}, "alignment.phoneme: 'b' ends"),
        ("supervisions.0.alignment", {"phoneme": [["b"]]}, "alignment.phoneme.0"),
        ("recording", ..., "recording is missing"),
        ("recording", None, "recording: found None"),
        ("recording.sources", [], "recording.sources: found []"),
        ("recording.sampling_rate", 7, "recording.sampling_rate: found 7"),
        ("recording.sampling_rate", 2**31, "recording.sampling_rate: found 2147483648"),
        ("recording.num_samples", 10**12, "recording: duration: found 0.2 s, expected 62500000.0"),
        ("recording.num_samples", 10**4000, "recording.num_samples"),
        ("recording.duration", float("nan"), "recording.duration: found nan"),
        ("recording.duration", "0.2", "recording.duration: found '0.2'"),
        ("surprise", 1, "unknown key surprise"),
    ],
)
def test_wrong_fields_are_named(corpus: Path, keys: str, value: object, problem: str) -> None:
    def edit(cut: Cut) -> None:
        *path, last = keys.split(".")
        target: Any = cut
        for key in path:
            target = target[int(key) if isinstance(target, list) else key]
        if value is ...:
            del target[last]
        else:
            target[last] = value

    change(corpus, edit)
    for act in (
        lambda: prepare_corpus("lhotse", corpus, as_name="mine"),
        lambda: load_corpus("kaldi").cuts("train"),
    ):
        with pytest.raises(InputError) as caught:
            act()
        assert problem in str(caught.value)
        assert "cuts_train.jsonl.gz:1: " in str(caught.value)
        assert len(str(caught.value)) < 500 + len(str(corpus))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 10_000, ":1: not valid JSON"),
        (b'{"id": ' * 10_000, ":1: not valid JSON"),
        (b'{"id": ' + b"9" * 5_000 + b"}", ":1: "),
        (b"\xff\xfe{", ":1: not valid JSON"),
        (b"nonsense", ":1: not valid JSON"),
        (b"\n\n[]\n", ":3: found []"),
        (gzip.compress(b"\n" * 1_000)[:-10], "cannot be read (Compressed file ended"),
        (gzip.compress(b"{}")[:12] + b"\0" * 20, "cannot be read ("),
        (gzip.compress(b" " * (MAX_LINE + 9)), "found a line of more than 16,000,000 bytes"),
        (gzip.compress(b"\n" * 20_000), ":10001: found more than 10,000 empty lines"),
        (gzip.compress((b" " * 15_999_999 + b"\n") * 5), "expands to more than 64,000,000 bytes"),
    ],
    # Not by the content: gzip writes the time into it.
    ids=[
        "lists",
        "objects",
        "a long number",
        "a mark",
        "a word",
        "an empty list",
        "half a file",
        "damaged",
        "a long line",
        "empty lines",
        "a bomb",
    ],
)
def test_files_that_are_no_manifests_are_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "cuts.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_cuts(file))
    assert str(caught.value).startswith(str(file))
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_manifests_are_what_their_bytes_are(corpus: Path, tmp_path: Path) -> None:
    packed = corpus / "cuts_train.jsonl.gz"
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b"\xef\xbb\xbf" + gzip.decompress(packed.read_bytes()))
    assert [cut for cut, _ in read_cuts(plain)] == [cut for cut, _ in read_cuts(packed)]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        ({"speaker": "zoe"}, "found the speaker 'zoe', whom corpus.json does not list"),
        ({"speaker": None}, "found the speaker None"),
        ({"custom": {"phonemes": ["b", "x"]}}, "the phoneme 'x', which corpus.json does not list"),
        (
            {"custom": {"phonemes": ["b"], "pronunciations": [[["b"], ["x"]]]}},
            "the phoneme 'x', which corpus.json does not list",
        ),
        ({"custom": {"phonemes": []}}, "found no phonemes"),
        ({"custom": None}, "found no phonemes"),
    ],
)
def test_labels_must_be_those_of_the_description(corpus: Path, edit: Cut, problem: str) -> None:
    change(corpus, lambda cut: cut["supervisions"][0].update(edit))
    with pytest.raises(InputError) as caught:
        load_corpus("kaldi").cuts("train")
    assert "cuts_train.jsonl.gz:1: cut 'ana-" in str(caught.value)
    assert problem in str(caught.value)
    assert check_corpus(load_corpus("kaldi")).problems


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("phonemes", 3, "phonemes: found 3"),
        ("phonemes", [], "phonemes: found []"),
        ("phonemes", ["b", "b"], "phonemes: found 'b' 2 times"),
        ("phonemes", ["b", "c d"], "phonemes: found 'c d', which is not a phoneme"),
        ("phonemes", ["b", ""], "phonemes: found '', which is not a phoneme"),
        ("speakers", ["ana"], "speakers: found"),
        ("speakers", {"ana": "female"}, "speakers.ana: found 'female'"),
        ("splits", {"train": {}}, "splits.train.speakers is missing"),
        ("format_version", "1", "format_version: found '1'"),
    ],
)
def test_wrong_descriptions_are_named(corpus: Path, key: str, value: Any, problem: str) -> None:
    file = corpus / "corpus.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(InputError) as caught:
        load_corpus("kaldi")
    assert f"{file.name}: {problem}" in str(caught.value)
