"""A few utterances of a new speaker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import tiny
import torch

import phoneme_moe
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.evaluation.export_run import export_run
from phoneme_moe.evaluation.model_card import model_card
from phoneme_moe.model.adaptation import AdaptationDocument
from phoneme_moe.pipeline import Trained
from phoneme_moe.run_folder import load_run
from phoneme_moe.training import new_speaker
from phoneme_moe.training.adapt import adapt
from phoneme_moe.training.labelled_examples import labelled_examples
from phoneme_moe.transcription.writers.textgrid import textgrid

if TYPE_CHECKING:
    from conftest import Outcome


@pytest.fixture
def of_dan(tmp_path: Path) -> Path:
    """Twelve utterances of dan, whom the run was not trained on, with their phonemes."""
    folder = tmp_path / "dan"
    folder.mkdir()
    random = np.random.default_rng(11)
    for number in range(12):
        phonemes = [str(p) for p in random.choice(tiny.PHONEMES, size=4)]
        samples, _ = tiny.speak(phonemes, "dan", random)
        soundfile.write(folder / f"{number:02}.wav", samples, tiny.RATE)
        (folder / f"{number:02}.txt").write_text(" ".join(phonemes))
    return folder


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_speaker, "EXPERT_STEPS", 60)
    monkeypatch.setattr(new_speaker, "GATE_STEPS", 60)


def test_a_new_expert_leaves_the_old_ones_as_they_are(
    recognized: Trained, of_dan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "adapted"
    found = adapt(load_run(recognized.run.folder), "dan", of_dan, out, "expert")
    assert (found.learned, found.held_out) == (8, 4)
    old, new = load_run(recognized.run.folder).recognizer, found.run.recognizer
    assert new.expert_names == (*old.expert_names, "dan")
    of_new = dict(new.named_parameters())
    for name, before in old.named_parameters():
        if name.startswith("experts."):
            assert torch.equal(of_new[name][:3], before)
            assert not torch.equal(of_new[name][3], before[2])
    assert found.old_before is not None
    assert found.old_after is not None
    assert found.old_after <= found.old_before + 0.1
    assert sum(found.blend.values()) == pytest.approx(1, abs=1e-5)
    assert found.blend["dan"] > 0
    assert found.after <= found.before + 0.1
    assert AdaptationDocument.read(out / "adaptation.json") == found.to_document()
    # The old run is as it was, and the new one is a run like any other.
    assert load_run(recognized.run.folder).recognizer.expert_names == old.expert_names
    assert evaluate(found.run).total.num_reference > 0


def test_the_card_of_an_exported_run_says_to_whom_it_was_adapted(
    recognized: Trained, of_dan: Path, tmp_path: Path
) -> None:
    first = adapt(load_run(recognized.run.folder), "dan", of_dan, tmp_path / "first", "expert")
    assert model_card(recognized.run).adaptation is None
    second = adapt(first.run, "eve", of_dan, tmp_path / "second", "gate")
    exported = export_run(second.run, tmp_path / "exported")
    found = model_card(exported).adaptation
    assert found == second.to_document()
    assert found.earlier_speakers == ["dan"]
    card = (tmp_path / "exported" / "MODEL_CARD.md").read_text()
    assert "**adapted**: to the speaker eve: the gate, trained on 8 utterances; on 4 " in card
    assert "adapted before to dan" in card


def test_a_run_adapts_itself_and_gives_a_run(
    recognized: Trained, of_dan: Path, tmp_path: Path
) -> None:
    run = phoneme_moe.load(recognized.run.folder)
    adaptation = run.adapt(of_dan, "dan", tmp_path / "a", new_expert=True)
    assert isinstance(adaptation, phoneme_moe.Adaptation)
    assert adaptation.run.recognizer.expert_names[-1] == "dan"
    assert type(adaptation.run) is type(run)
    transcript = adaptation.run.transcribe(of_dan / "00.wav")
    assert "dan" in transcript.routing
    with pytest.raises(phoneme_moe.ArgumentError, match=r"^out: .* not empty"):
        run.adapt(of_dan, "dan", tmp_path / "a")


def test_the_gate_alone_changes_nothing_else(
    recognized: Trained, of_dan: Path, tmp_path: Path
) -> None:
    found = adapt(load_run(recognized.run.folder), "dan", of_dan, tmp_path / "a", "gate")
    old, new = load_run(recognized.run.folder).recognizer, found.run.recognizer
    changed = set()
    for (name, before), (_, after) in zip(
        old.state_dict().items(), new.state_dict().items(), strict=True
    ):
        if not torch.equal(before, after):
            changed.add(name.split(".")[0])
    assert changed == {"gate"}
    assert tuple(found.blend) == old.expert_names


def test_before_it_is_taught_a_new_expert_is_hardly_asked(
    recognized: Trained, of_dan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(recognized.run.folder)
    monkeypatch.setattr(new_speaker, "_train_expert", lambda single, examples, run: None)
    learned = labelled_examples(run.recognizer, of_dan, "dan")
    new = new_speaker.add_speaker_expert(run, "dan", learned)
    waveform = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([4000])
    with torch.no_grad():
        before = run.recognizer.recognize_waveforms(waveform, length).log_posteriors
        after = new.recognize_waveforms(waveform, length)
    # An untaught copy says what its model says: only the shares move, by a fiftieth of one.
    assert float(after.routing.weights[..., -1].max()) < 0.03
    assert (before.exp() - after.log_posteriors.exp()).abs().max() < 0.03


def test_the_command_says_what_came_of_it(
    recognized: Trained, of_dan: Path, tmp_path: Path, phoneme_moe: Callable[..., Outcome]
) -> None:
    outcome = phoneme_moe(
        "adapt", recognized.run.folder, of_dan, "--speaker", "dan", "--out", tmp_path / "a"
    )
    assert outcome.code == 0
    for words in ("adapted on 8 utterances", "PER before", "old speakers", "mean expert weights"):
        assert words in outcome.out
    again = phoneme_moe(
        "adapt", recognized.run.folder, of_dan, "--speaker", "dan", "--out", tmp_path / "a"
    )
    assert again.code == 1
    assert "expected an empty or new folder" in again.err


def test_labels_may_be_textgrids_and_htk_labels(recognized: Trained, of_dan: Path) -> None:
    plain = labelled_examples(recognized.run.recognizer, of_dan, "dan")
    for number, text in enumerate(sorted(of_dan.glob("*.txt"))):
        phonemes = text.read_text().split()
        edges = [(100 * n, 100 * (n + 1)) for n in range(len(phonemes))]
        if number % 3 == 0:
            grid = textgrid({"MAU": (edges, phonemes)}, 1.0)
            text.with_suffix(".TextGrid").write_bytes(grid.encode("utf-16"))
            text.unlink()
        elif number % 3 == 1:
            rows = zip(edges, phonemes, strict=True)
            lines = [f"{start}0000 {end}0000 {phoneme}\n" for (start, end), phoneme in rows]
            text.with_suffix(".lab").write_text("".join(lines))
            text.write_text("not used")
    found = labelled_examples(recognized.run.recognizer, of_dan, "dan")
    assert [example.phonemes for example in found] == [example.phonemes for example in plain]


def test_words_go_through_a_lexicon(recognized: Trained, of_dan: Path, tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("".join(f"{p}x  {p}\n" for p in tiny.PHONEMES))
    plain = labelled_examples(recognized.run.recognizer, of_dan, "dan")
    for text in of_dan.glob("*.txt"):
        text.write_text(" ".join(f"{p}X" for p in text.read_text().split()))
    found = labelled_examples(recognized.run.recognizer, of_dan, "dan", lexicon)
    assert [e.phonemes for e in found] == [e.phonemes for e in plain]
    for name, encoding in (("00", "utf-16"), ("01", "utf-8-sig")):
        text = (of_dan / f"{name}.txt").read_text()
        (of_dan / f"{name}.txt").write_text(f"\u201c{text},\u201d", encoding=encoding)
    found = labelled_examples(recognized.run.recognizer, of_dan, "dan", lexicon)
    assert [e.phonemes for e in found] == [e.phonemes for e in plain]
    (of_dan / "03.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"03\.txt: byte 3 \(line 1\): found 0xE9"):
        labelled_examples(recognized.run.recognizer, of_dan, "dan", lexicon)
    (of_dan / "03.txt").write_text("nonesuch")
    with pytest.raises(InputError, match=r"03\.txt: 'nonesuch' is not in"):
        labelled_examples(recognized.run.recognizer, of_dan, "dan", lexicon)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("00.txt", "a q", r"00\.txt: phoneme 'q' is not"),
        ("00.txt", "", r"00\.txt: found no phonemes"),
        ("00.txt", None, r"00\.wav: found no labels beside it, expected 00\.TextGrid"),
    ],
)
def test_what_cannot_be_learned_from_is_named(
    recognized: Trained, of_dan: Path, name: str, text: str | None, problem: str
) -> None:
    if text is None:
        (of_dan / name).unlink()
    else:
        (of_dan / name).write_text(text)
    with pytest.raises(InputError, match=problem):
        labelled_examples(recognized.run.recognizer, of_dan, "dan")


def test_runs_that_cannot_adapt_are_refused(
    recognized: Trained, classified: Trained, of_dan: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="experts behind a gate"):
        adapt(classified.run, "dan", of_dan, tmp_path / "x", "gate")
    with pytest.raises(InputError, match="already has an expert 'ann'"):
        adapt(recognized.run, "ann", of_dan, tmp_path / "x", "expert")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="found 0 recordings, expected at least 3"):
        adapt(recognized.run, "dan", empty, tmp_path / "x", "gate")
