"""Models that come with the package: named wherever a run is, and left as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
import tiny
import torch

import phoneme_moe.evaluation.stored_card as stored_card_module
import phoneme_moe.models as models
from phoneme_moe import load
from phoneme_moe.corpora import PreparedCorpus, load_corpus
from phoneme_moe.corpora.joined import join_corpora
from phoneme_moe.corpora.registry import CORPORA
from phoneme_moe.errors import InputError
from phoneme_moe.evaluation.errors import evaluate
from phoneme_moe.evaluation.export_run import _without_folders, export_run
from phoneme_moe.evaluation.stored_card import licence_of, stored_card
from phoneme_moe.files.writing import write_json
from phoneme_moe.models import locate_run, shipped_models
from phoneme_moe.pipeline import Trained, train
from phoneme_moe.recipe import load_recipe
from phoneme_moe.run_folder import load_run
from phoneme_moe.transcription import bench
from phoneme_moe.transcription.run_engine import RunEngine

if TYPE_CHECKING:
    from conftest import Outcome

NAME = "tonish"
SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"

Command = Callable[..., "Outcome"]


@pytest.fixture(scope="module")
def sparse(tones: PreparedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("runs") / "sparse"
    return train(tiny.RECIPES / "tiny_sparse.yaml", folder, device="cpu")


@pytest.fixture(scope="module", params=["recognized", "sparse"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one of them, as the package has it."""
    root = tmp_path_factory.mktemp("package") / "models"
    trained: Trained = request.getfixturevalue(request.param)
    export_run(trained.run, root / NAME, notes=["It knows four phonemes."])
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    return root


@pytest.fixture
def shipped(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model, with an empty folder as the current one."""
    monkeypatch.setattr(models, "ROOT", package)
    monkeypatch.chdir(tmp_path)
    return package / NAME


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_every_command_takes_its_name_and_leaves_it_as_it_is(
    shipped: Path,
    tones: PreparedCorpus,
    tmp_path: Path,
    phoneme_moe: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The command that it starts would look into the real package.
    monkeypatch.setattr(bench, "_cold_start", lambda *_: 1.0)
    before = _state(shipped)
    sound = tones.cuts("test")[0].recording.sources[0].source
    commands = {
        "transcribe": (NAME, sound, "--format", "json"),
        "align": (NAME, sound, "--phonemes", "a m i"),
        "model": (NAME,),
        "evaluate": (NAME, "--json", "evaluation.json"),
        "report": (NAME,),
        "clips": (NAME, "--limit", "3"),
        "compare": (NAME, NAME),
        "bench": (NAME, sound),
        "export": (NAME, "--run", "mine", "--bits", "8"),
    }
    outcomes = {}
    for command, arguments in commands.items():
        outcomes[command] = outcome = phoneme_moe(command, *arguments)
        assert outcome.code == 0, outcome.err
        assert str(shipped.parent) not in outcome.out + outcome.err
    assert json.loads(outcomes["transcribe"].out)["run"] == NAME
    assert (tmp_path / "results" / NAME / "report" / "report.html").is_file()
    assert (tmp_path / "results" / NAME / "clips").is_dir()
    assert (tmp_path / "results" / NAME / "compare" / NAME).is_dir()
    assert f"results/{NAME}/report" in outcomes["report"].out
    written = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert written == {"results", "mine", "evaluation.json"}
    assert _state(shipped) == before
    listed = phoneme_moe("model")
    assert listed.code == 0
    assert listed.out == f"{NAME}\n"  # its recipe has no description
    run = load(NAME)
    assert run.name == Path(NAME)
    assert run.transcribe(sound).run == NAME


@pytest.mark.slow
def test_a_grown_model_lies_among_the_runs(
    package: Path, sparse: Trained, shipped: Path, phoneme_moe: Command
) -> None:
    if load(NAME).recipe.model.encoder is None:
        pytest.skip("grows sparse layers only")
    outcome = phoneme_moe("grow", NAME, "--experts", "1", "--epochs", "1", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert load(Path("runs", f"{NAME}_grown")).recipe.model.encoder is not None


@pytest.mark.slow
def test_a_run_folder_of_that_name_wins(shipped: Path, recognized: Trained) -> None:
    assert locate_run(NAME) == shipped
    Path(NAME).mkdir()  # such as recordings in English
    assert locate_run(NAME) == shipped
    shutil.rmtree(NAME)
    shutil.copytree(recognized.run.folder, NAME)
    assert locate_run(NAME) == Path(NAME)
    assert load(NAME).folder == Path(NAME)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tonis", f"tonis: no such run folder (did you mean '{NAME}'?)"),
        ("zzz", f"zzz: no such run folder (known: {NAME})"),
        ("runs/zzz", "runs/zzz: no such run folder"),
        (f"./{NAME}x/", f"{NAME}x: no such run folder (did you mean '{NAME}'?)"),
        ("empty", "empty: not a run folder: it has no recipe.yaml"),
    ],
)
def test_other_names_are_refused_with_a_suggestion(
    shipped: Path, name: str, words: str, phoneme_moe: Command
) -> None:
    Path("empty").mkdir()
    with pytest.raises(InputError) as refused:
        load(name)
    assert str(refused.value) == words
    outcome = phoneme_moe("transcribe", name, "a.wav")
    assert outcome.code == 1


def test_without_models_there_is_nothing_to_suggest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phoneme_moe: Command
) -> None:
    monkeypatch.setattr(models, "ROOT", tmp_path)
    with pytest.raises(InputError, match=r"^nothing: no such run folder$"):
        locate_run("nothing")
    assert shipped_models() == {}
    assert "phoneme-moe train quick" in phoneme_moe("model").out


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "most"), [(16, 0.02), (8, 0.6), (32, 0.0)])
def test_posteriors_hardly_change(
    recognized: Trained, tones: PreparedCorpus, tmp_path: Path, bits: int, most: float
) -> None:
    run = recognized.run
    exported = export_run(run, tmp_path / "small", bits)
    assert exported.decoding == run.decoding
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 60, run.recipe.features.n_mels)).astype(np.float32)
    lengths = np.array([60, 41])
    expected, found = (
        RunEngine(one).infer(features, lengths).log_posteriors for one in (run, exported)
    )
    off = max(np.abs(e[:n] - f[:n]).max() for e, f, n in zip(expected, found, lengths, strict=True))
    assert off <= most
    assert (off > 0) == (bits < 32)
    weights = exported.recognizer.state_dict()
    assert all(w.dtype in {torch.float32, torch.int64} for w in weights.values())
    size, former = (
        (folder / "model.safetensors").stat().st_size for folder in (exported.folder, run.folder)
    )
    assert size < {8: 0.45, 16: 0.65, 32: 1.01}[bits] * former


@pytest.mark.slow
def test_an_exported_run_has_what_is_needed_and_nothing_of_this_machine(
    recognized: Trained, tones: PreparedCorpus, tmp_path: Path, phoneme_moe: Command
) -> None:
    folder = tmp_path / "small"
    outcome = phoneme_moe("export", recognized.run.folder, "--run", folder, "--note", "A note.")
    assert (outcome.code, outcome.out.strip()) == (0, str(folder))
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files - {"speed.json"} == {  # which another test may have measured
        "recipe.yaml",
        "model.json",
        "model.safetensors",
        "decoding.json",
        "quality.json",
        "evaluation.json",
        "speech.json",
        "MODEL_CARD.md",
        "report/routing.json",
        "report/routing.csv",
        "report/routing.svg",
    }
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(tmp_path.parent.parent).encode() not in path.read_bytes()
    for name, schema in (("model", "model"), ("speech", "stored_card")):
        document = json.loads((folder / f"{name}.json").read_text())
        expected = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
        jsonschema.validate(document, expected, jsonschema.Draft202012Validator)
    card = (folder / "MODEL_CARD.md").read_text()
    per = 100 * recognized.evaluation.total.error_rate
    assert f"tested on 0.0 h of 3 speakers: {per:.2f} % PER" in card
    assert "A note." in card
    assert "A note." in phoneme_moe("model", folder).out
    again = phoneme_moe("export", recognized.run.folder, "--run", folder)
    assert again.code == 1
    assert (
        again.err == f"phoneme-moe: --run: {folder}: not empty; expected an empty or new folder\n"
    )


def test_files_used_in_training_are_named_without_their_folder() -> None:
    recipe = load_recipe("learners", ["training.teacher.model=/models/encoder"])
    stripped = _without_folders(recipe)
    assert stripped.training.teacher is not None
    assert stripped.training.teacher.model == "encoder"
    assert stripped.model == recipe.model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "export: expected one of --onnx, --run and --web"),
        (("--onnx", "a.onnx", "--run", "b"), "export: expected one of --onnx, --run and --web"),
        (("--run", "b", "--web", "c"), "export: expected one of --onnx, --run and --web"),
        (
            ("--run", "b", "--int8"),
            "--int8: expected --onnx or --web with it; --run takes --bits 8",
        ),
        (("--run", "b", "--runtime", "d"), "--runtime: expected --web with it"),
        (("--onnx", "a.onnx", "--bits", "8"), "--bits: expected --run with it"),
        (("--onnx", "a.onnx", "--note", "x"), "--note: expected --run with it"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    recognized: Trained, options: tuple[str, ...], words: str, phoneme_moe: Command
) -> None:
    outcome = phoneme_moe("export", recognized.run.folder, *options)
    assert (outcome.code, outcome.err) == (1, f"phoneme-moe: {words}\n")


@pytest.mark.slow
def test_weights_in_the_wrong_bits_are_refused(recognized: Trained, tmp_path: Path) -> None:
    exported = export_run(recognized.run, tmp_path / "small", 8)
    path = exported.folder / "model.json"
    document = json.loads(path.read_text())
    assert (document["version"], document["weight_bits"]) == (2, 8)
    for bits, words in ((4, "weight_bits: found 4"), (16, "model.safetensors: .*scale")):
        write_json(path, {**document, "weight_bits": bits})
        with pytest.raises(InputError, match=words):
            load_run(exported.folder)


@pytest.mark.slow
def test_joined_corpora_are_counted_apart(
    recognized: Trained, tones: PreparedCorpus, foreign: PreparedCorpus, tmp_path: Path
) -> None:
    joined = load_corpus(f"{tones.name}+{foreign.name}")
    recipe = recognized.run.recipe
    section = recipe.corpus.model_copy(update={"speakers": None, "name": joined.name})
    folder = tmp_path / "run"
    folder.mkdir()
    run = replace(
        recognized.run, folder=folder, recipe=recipe.model_copy(update={"corpus": section})
    )
    evaluation = evaluate(run, corpus=joined)
    evaluation.save(folder / "evaluation.json")
    card = stored_card(run, joined)
    assert [corpus.name for corpus in card.corpora] == [tones.name, foreign.name]
    for part, corpus in zip((tones, foreign), card.corpora, strict=True):
        for split in ("train", "test"):
            cuts = list(part.cuts(split))
            speech = getattr(corpus, split)
            assert speech.speakers == len({cut.supervisions[0].speaker for cut in cuts})
            assert speech.utterances == len(cuts)
            assert speech.hours == pytest.approx(sum(c.duration for c in cuts) / 3600, abs=1e-3)
        score = evaluation.by_corpus[part.name]
        assert corpus.error_rate == pytest.approx(score.error_rate)
    assert licence_of("an4+mine").endswith("; mine: yours")
    assert licence_of("mine") == "yours"


def _part_of_librispeech(corpus: PreparedCorpus) -> PreparedCorpus:
    """The corpus, as if it had been prepared from a part of LibriSpeech."""
    settings = {**corpus.description["settings"], "corpus": "librispeech"}
    return replace(corpus, description={**corpus.description, "settings": settings})


@pytest.mark.slow
def test_parts_of_one_publication_are_counted_apart_with_its_licence(
    recognized: Trained, tones: PreparedCorpus, foreign: PreparedCorpus, tmp_path: Path
) -> None:
    parts = _part_of_librispeech(tones), _part_of_librispeech(foreign)
    joined = join_corpora(parts)
    recipe = recognized.run.recipe
    section = recipe.corpus.model_copy(update={"speakers": None, "name": joined.name})
    run = replace(
        recognized.run, folder=tmp_path, recipe=recipe.model_copy(update={"corpus": section})
    )
    evaluation = evaluate(run, corpus=joined)
    evaluation.save(tmp_path / "evaluation.json")
    card = stored_card(run, joined)
    assert {name.partition("/")[0] for name in joined.speakers} == {"librispeech"}
    for part, corpus in zip(parts, card.corpora, strict=True):
        cuts = list(part.cuts("train"))
        assert corpus.train.speakers == len({cut.supervisions[0].speaker for cut in cuts})
        assert corpus.train.utterances == len(cuts)
        assert corpus.error_rate == pytest.approx(evaluation.by_corpus[part.name].error_rate)
        assert corpus.licence == licence_of("librispeech") != "yours"


def test_a_part_has_the_licence_of_its_publication(
    tones: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_card_module, "load_corpus", lambda _: _part_of_librispeech(tones))
    assert licence_of("dev-clean") == CORPORA["librispeech"].licence
