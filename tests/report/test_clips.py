from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from hypothesis import given
from hypothesis import strategies as st

from phoneme_moe.corpora import PreparedCorpus
from phoneme_moe.data.examples import Example, load_examples
from phoneme_moe.decoding.scoring import score_utterance
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.pipeline import Trained
from phoneme_moe.report.clips.audio import FADE_SECONDS, cut_audio
from phoneme_moe.report.clips.find import Clip, ClipQuery, SearchCounts, draw_clips, find_clips
from phoneme_moe.report.clips.page import ClipView, render_clips
from phoneme_moe.report.clips.run import RunClips, clips_of_run
from phoneme_moe.report.collect.frame_phonemes import decoded_phonemes
from phoneme_moe.report.collect.observe import collect_routing
from phoneme_moe.report.statistics import summarize

BOTH = pytest.mark.parametrize("fixture", ["recognized", "classified"])
NASTY = (
    '<img src=x onerror="alert(1)">',
    "a\"b'c&d/e",
    "\u202eעברית",
    "</script><b>",
    "{{ 7 * 7 }}",
)


def examples_of(trained: Trained, tones: PreparedCorpus) -> list[Example]:
    return load_examples(trained.run.recipe, tones, "test", trained.run.recognizer)


def clips_behind(
    trained: Trained, examples: list[Example], query: ClipQuery | None = None
) -> list[Clip]:
    each = find_clips(trained.run.recognizer, examples, query or ClipQuery())
    return list(chain.from_iterable(each))


def names(clips: list[Clip]) -> list[tuple[str, float, str]]:
    return sorted((clip.utterance, clip.start, clip.phoneme) for clip in clips)


def written(
    trained: Trained, out: Path, query: ClipQuery | None = None, **options: Any
) -> RunClips:
    return clips_of_run(trained.run, query or ClipQuery(), out=out, **options)


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@BOTH
@pytest.mark.parametrize("timed", [True, False])
def test_the_rows_behind_each_cell_are_those_of_the_report(
    fixture: str, timed: bool, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    examples = examples_of(trained, tones)
    if not timed:
        examples = [replace(example, spans=()) for example in examples]
    report = summarize(collect_routing(trained.run.recognizer, examples))
    clips = clips_behind(trained, examples)
    for i, speaker in enumerate(report.speakers):
        for k, phoneme in enumerate(report.phonemes):
            cell = [clip for clip in clips if (clip.speaker, clip.phoneme) == (speaker, phoneme)]
            assert sum(clip.rows for clip in cell) == report.speaker_phoneme_rows[i, k]
            if cell:
                mean = np.average(
                    [clip.weights for clip in cell], axis=0, weights=[clip.rows for clip in cell]
                )
                np.testing.assert_allclose(mean, report.speaker_phoneme_weights[i, k], atol=1e-5)


@BOTH
def test_a_cell_has_the_clips_that_fit_and_no_others(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    examples = examples_of(trained, tones)
    everything = clips_behind(trained, examples)
    experts = trained.run.recognizer.expert_names
    by_expert = [clips_behind(trained, examples, ClipQuery(expert=name)) for name in experts]
    assert names(list(chain(*by_expert))) == names(everything)
    for index, group in enumerate(by_expert):
        assert all(clip.weights[index] == clip.weights.max() for clip in group)
    by_speaker = [
        clips_behind(trained, examples, ClipQuery(speaker=name)) for name in tones.speakers
    ]
    assert names(list(chain(*by_speaker))) == names(everything)
    some = clips_behind(trained, examples, ClipQuery("ann", "ann", "a", wrong=False))
    assert names(some) == names(
        [c for c in everything if (c.speaker, c.phoneme, experts[c.expert]) == ("ann", "a", "ann")]
    )


@BOTH
def test_what_is_wrong_is_what_the_scoring_counts(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    examples = examples_of(trained, tones)
    counts = SearchCounts()
    each = find_clips(trained.run.recognizer, examples, ClipQuery(wrong=True), counts=counts)
    wrong = list(chain.from_iterable(each))
    evaluation = evaluate(trained.run)
    wrong = [clip for clip in wrong if clip.utterance in evaluation.utterances]
    assert counts.without_rows == 0
    assert sum(clip.hypothesis is None for clip in wrong) == evaluation.total.deletions
    confused = Counter(
        (clip.phoneme, clip.hypothesis) for clip in wrong if clip.hypothesis is not None
    )
    assert confused == Counter({(r, h): n for r, h, n in evaluation.total.confusions})
    assert len(wrong) == evaluation.total.deletions + evaluation.total.substitutions
    assert wrong


PHONEMES = st.lists(st.sampled_from(["a", "i", "m"]), max_size=8)


@given(PHONEMES, PHONEMES)
def test_aligned_hypotheses_agree_with_the_score(
    reference: list[str], hypothesis: list[str]
) -> None:
    aligned = decoded_phonemes(reference, hypothesis)
    score = score_utterance(reference, hypothesis)
    assert len(aligned) == len(reference)
    assert sum(phoneme is None for phoneme in aligned) == score.deletions
    confused = [(r, h) for r, h in zip(reference, aligned, strict=True) if h not in (None, r)]
    assert confused == list(score.confusions)


@BOTH
def test_a_clip_has_the_samples_of_the_recording(
    fixture: str, request: pytest.FixtureRequest, tones: PreparedCorpus, tmp_path: Path
) -> None:
    trained: Trained = request.getfixturevalue(fixture)
    done = written(trained, tmp_path / "clips", limit=30, context_ms=50.0)
    cuts = {cut.id: cut for cut in tones.cuts("test")}
    table = table_of(done.folder)
    assert len(table) == len(done.clips) == 30
    fade = round(FADE_SECONDS * tiny.RATE)
    for row in table:
        utterance, _, number = row["utterance"].partition("#")
        cut = cuts[utterance]
        recording, _ = soundfile.read(cut.recording.sources[0].source, dtype="int16")
        start, end = float(row["start"]), float(row["end"])
        item = next(
            item
            for index, item in enumerate(cut.supervisions[0].alignment["phoneme"])
            if abs(item.start - start) < 1e-3 and number in ("", str(index))
        )
        assert (item.symbol, item.duration) == (
            row["phoneme"],
            pytest.approx(end - start, abs=1e-3),
        )
        assert (cut.supervisions[0].speaker, row["speaker"]) == (row["speaker"],) * 2
        clip, rate = soundfile.read(done.folder / row["file"], dtype="int16")
        assert rate == tiny.RATE
        first = max(0, round((item.start - 0.05) * rate))
        last = min(len(recording), round((item.end + 0.05) * rate))
        expected = recording[first:last]
        assert len(clip) == len(expected)
        np.testing.assert_array_equal(clip[fade:-fade], expected[fade:-fade])
        assert (np.abs(clip) <= np.abs(expected)).all()
        assert abs(clip[0]) <= 0.01 * 32768
        assert float(row["offset"]) == pytest.approx(item.start - first / rate, abs=1e-4)


def test_a_clip_ends_where_its_recording_does() -> None:
    waveform = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)
    whole = cut_audio(waveform, 1000, 0.02, 1.3, context=0.1)
    assert len(whole.waveform) == 1000
    assert (whole.offset, whole.length) == (pytest.approx(0.02), pytest.approx(0.98))
    assert waveform[0] == -0.5
    envelope = whole.envelope(50)
    assert np.abs(envelope).max() == pytest.approx(1)
    assert (envelope[:, 0] <= envelope[:, 1]).all()
    assert whole.envelope(5000).shape == (5000, 2)
    silent = cut_audio(np.zeros(100, dtype=np.float32), 1000, 0.02, 0.05, context=0)
    assert (silent.envelope(10) == 0).all()


def planted(counts: dict[tuple[str, str], int]) -> list[Clip]:
    weights = np.array([1.0], dtype=np.float32)
    return [
        Clip(utterance, speaker, "a", float(k), k + 0.5, 1, weights, "a")
        for (speaker, utterance), count in counts.items()
        for k in range(count)
    ]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("xyz"), st.sampled_from(["1", "2", "3", "4"])),
        st.integers(1, 6),
        min_size=1,
    ),
    st.integers(1, 50),
)
def test_a_sample_is_even_over_speakers_and_utterances(
    counts: dict[tuple[str, str], int], limit: int
) -> None:
    clips = planted({(speaker, speaker + number): n for (speaker, number), n in counts.items()})
    drawn = draw_clips(clips, limit)
    assert len(drawn) == min(limit, len(clips))
    assert len(set(names(drawn))) == len(drawn)
    assert set(names(drawn)) <= set(names(clips))
    assert names(draw_clips(clips, limit)) == names(drawn)

    def even(all_of: Counter[str], drawn_of: Counter[str]) -> bool:
        left = [name for name in all_of if drawn_of[name] < all_of[name]]
        return (
            not left
            or max(drawn_of.values(), default=0) <= min(drawn_of[name] for name in left) + 1
        )

    assert even(Counter(c.speaker for c in clips), Counter(c.speaker for c in drawn))
    for speaker in {clip.speaker for clip in clips}:
        assert even(
            Counter(c.utterance for c in clips if c.speaker == speaker),
            Counter(c.utterance for c in drawn if c.speaker == speaker),
        )


class Reader(HTMLParser):
    """Every tag with its attributes, and all text but that of style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside not in {"style", "script"}:
            self.texts.append(data)


def test_names_are_shown_and_not_executed() -> None:
    experts = NASTY
    sound = cut_audio(np.ones(800, dtype=np.float32), 8000, 0.02, 0.05, 0.01)
    weights = np.full(len(NASTY), 1 / len(NASTY), dtype=np.float32)
    clips = [Clip(f"{name} take", name, name, 0.02, 0.05, 3, weights, NASTY[0]) for name in NASTY]
    for shown, query in ((clips, ClipQuery()), (clips[:1], ClipQuery(*NASTY[:3], wrong=True))):
        page = render_clips(
            [ClipView.of(clip, sound, "clips/0001.flac", experts) for clip in shown],
            experts,
            query=query,
            facts={"run": NASTY[0]},
            total=900,
            notes=[],
        )
        reader = Reader()
        reader.feed(page)
        kinds = Counter(tag for tag, _ in reader.tags)
        assert (kinds["img"], kinds["script"], kinds["b"] >= len(shown)) == (0, 1, True)
        assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
        cards = [attributes for _, attributes in reader.tags if attributes.get("class") == "card"]
        assert [card["data-speaker"] for card in cards] == [clip.speaker for clip in shown]
        assert [card["data-utterance"] for card in cards] == [clip.utterance for clip in shown]
        for clip in shown:
            assert clip.phoneme in reader.texts
            assert clip.utterance in reader.texts
        assert "49" not in "".join(reader.texts)


def test_the_page_needs_nothing_but_the_files_beside_it(
    recognized: Trained, tmp_path: Path
) -> None:
    done = written(recognized, tmp_path / "clips", ClipQuery(wrong=False), limit=5)
    page = done.page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", page)
    reader = Reader()
    reader.feed(page)
    linked = {
        attributes[key]
        for _, attributes in reader.tags
        for key in ("href", "src")
        if attributes.get(key)
    }
    linked.discard("#clips")
    files = {row["file"] for row in table_of(done.folder)}
    assert linked == files | {"clips.csv", "data:,"}
    assert {f"clips/{path.name}" for path in (done.folder / "clips").iterdir()} == files
    buttons = [attributes for _, attributes in reader.tags if attributes.get("class") == "play"]
    labels = [button["aria-label"] for button in buttons]
    assert len(set(labels)) == 5
    assert f"5 of {done.total:,}" in page


def test_the_table_says_what_the_clips_are(classified: Trained, tmp_path: Path) -> None:
    done = written(classified, tmp_path / "clips", limit=30)
    experts = classified.run.recognizer.expert_names
    for row, clip in zip(table_of(done.folder), done.clips, strict=True):
        assert (row["speaker"], row["phoneme"], row["utterance"]) == (
            clip.speaker,
            clip.phoneme,
            clip.utterance,
        )
        assert experts.index(row["expert"]) == clip.expert
        assert float(row["weight"]) == pytest.approx(clip.weights.max(), abs=1e-5)
        assert (row["hypothesis"], row["wrong"]) == (clip.hypothesis or "", str(clip.wrong).lower())
    assert "20 dB" in done.page.read_text(encoding="utf-8")


def test_phonemes_without_a_frame_are_counted(recognized: Trained, tones: PreparedCorpus) -> None:
    example = examples_of(recognized, tones)[0]
    # The second one lies between the centres of two frames of 20 ms.
    short = replace(example, phonemes=("a", "i"), spans=(("a", 0.02, 0.08), ("i", 0.092, 0.095)))
    counts = SearchCounts()
    (clips,) = find_clips(recognized.run.recognizer, [short], ClipQuery(), counts=counts)
    assert [clip.phoneme for clip in clips] == ["a"]
    assert (counts.phonemes, counts.without_rows) == (2, 1)
    crowded = replace(example, phonemes=("a", "i") * 200, spans=())
    (clips,) = find_clips(recognized.run.recognizer, [crowded], ClipQuery())
    assert clips == []
