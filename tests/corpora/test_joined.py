import shutil
from pathlib import Path

import pytest
import tiny
from typer.testing import CliRunner

from phoneme_moe.cli import app
from phoneme_moe.corpora import load_corpus, prepare_corpus
from phoneme_moe.corpora.joined import JoinedCorpus
from phoneme_moe.corpora.prepare import ensure_corpus
from phoneme_moe.data.examples import Example
from phoneme_moe.errors import InputError
from phoneme_moe.recipe import Corpus, load_recipe, shipped_recipes
from phoneme_moe.training.sampler import BalancedBatches


def _prepare(folder: Path, name: str, symbols: dict[str, str] | None = None) -> None:
    source = folder / f"source-{name}"
    source.mkdir()
    prepare_corpus("lhotse", tiny.write_tones(source, 6, symbols), as_name=name, progress=False)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "data"))
    for name in ("here", "there"):
        _prepare(tmp_path, name)
    return tmp_path


def _rename_publisher(folder: Path) -> None:
    """Makes a corpus a part of LibriSpeech, whose publishers name the speakers."""
    file = folder / "corpus.json"
    file.write_text(file.read_text().replace('"corpus": "lhotse"', '"corpus": "fsdd"'))


def test_joined_corpora_have_all_utterances_under_separate_names(two: Path) -> None:
    joined = load_corpus("here+there")
    parts = [load_corpus("here"), load_corpus("there")]
    for split in ("train", "dev", "test"):
        cuts = joined.cuts(split)
        names = [f"{part.name}/{cut.id}" for part in parts for cut in part.cuts(split)]
        assert [cut.id for cut in cuts] == names
        assert {cut.supervisions[0].speaker for cut in cuts} <= set(joined.speakers)
        assert joined.description["splits"][split]["utterances"] == len(names)
    assert len(joined.speakers) == 8
    assert "here/ann" in joined.speakers
    assert joined.phonemes == parts[0].phonemes


def test_one_speaker_of_a_publisher_is_one_speaker_in_all_its_parts(two: Path) -> None:
    for name in ("here", "there"):
        _rename_publisher(two / "data" / name)
    joined = load_corpus("here+there")
    assert joined.speakers == ("fsdd/ann", "fsdd/bob", "fsdd/carol", "fsdd/dan")


def test_nobody_is_in_training_here_and_in_test_there(two: Path) -> None:
    assert isinstance(ensure_corpus("here+there"), JoinedCorpus)  # users' names say nothing
    for name in ("here", "there"):
        _rename_publisher(two / "data" / name)
    with pytest.raises(InputError, match=r"'fsdd/ann' is in train of there and in dev of here"):
        ensure_corpus("here+there")


def test_phonemes_in_another_notation_are_refused(two: Path) -> None:
    _prepare(two, "ipa", {"a": "ɑ", "i": "iː", "s": "ʃ"})
    message = r"ipa has the phonemes .*, here has a, i, m, s: found 1 in both; expected the same"
    with pytest.raises(InputError, match=message):
        load_corpus("here+ipa")


def test_a_missing_part_and_a_part_twice_are_named(two: Path) -> None:
    with pytest.raises(InputError, match=r"corpus 'their' is unknown.*there"):
        load_corpus("here+their")
    with pytest.raises(InputError, match=r"found 'here' twice"):
        load_corpus("here+here")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "name"),
        ({"names": ["a", "a"]}, "a corpus twice"),
        ({"name": "a", "names": ["a", "b"]}, r"expected 'a\+b' as in names"),
        ({"names": ["a", "b"], "weights": {"c": 1}}, r"weights.c: no such corpus"),
        (
            {"names": ["a", "b"], "weights": {"a": 0}},
            r"weights.a: found 0, expected a number above 0",
        ),
        ({"name": "a", "weights": {"a": 2}}, "only one corpus"),
    ],
    ids=["none", "twice", "disagree", "unknown", "zero", "single"],
)
def test_names_and_weights_are_checked(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corpus.model_validate(section)


def test_a_resolved_section_is_read_back() -> None:
    section = Corpus.model_validate({"names": ["a", "b"], "weights": {"b": 0.5}})
    assert section.name == "a+b"
    assert section.model_dump(mode="json")["weights"] == {"b": 0.5}
    assert Corpus.model_validate(section.model_dump(mode="json")) == section


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_can_be_a_key(name: str) -> None:
    recipe = load_recipe(name)
    assert {recipe: name}[load_recipe(name)] == name
    joined = recipe.model_copy(
        update={"corpus": Corpus.model_validate({"names": ["a", "b"], "weights": {"a": 2}})}
    )
    assert hash(joined) != hash(recipe)


def _examples(*numbers: int) -> list[Example]:
    import torch

    return [
        Example(f"{corpus}/{index}", f"{corpus}/{index % 3}", ("a",), torch.zeros(5 + index, 2))
        for corpus, number in enumerate(numbers)
        for index in range(number)
    ]


def test_an_epoch_has_each_utterance_as_often_as_its_weight_says() -> None:
    examples = _examples(40, 30)
    weights = [1.0 if e.utterance.startswith("0/") else 2.5 for e in examples]
    batches = BalancedBatches(examples, 8, 1, weights)
    epochs = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        drawn = [index for batch in batches for index in batch]
        assert len(list(batches)) == len(batches)
        counts = [drawn.count(index) for index in range(len(examples))]
        assert counts[:40] == [1] * 40
        assert sorted(counts[40:]) == [2] * 15 + [3] * 15
        epochs.append(counts)
    assert epochs[0] != epochs[1]


def test_weights_of_one_change_nothing() -> None:
    examples = _examples(20, 10)
    plain, weighted = (BalancedBatches(examples, 8, 3, w) for w in (None, [1.0] * 30))
    assert list(plain) == list(weighted)


@pytest.mark.slow
def test_a_run_on_two_corpora_tells_the_errors_on_each(two: Path) -> None:
    from phoneme_moe.pipeline import train

    source = Path(__file__).parents[1] / "recipes" / "tiny_recognize.yaml"
    recipe = load_recipe(
        source,
        [
            "corpus.name=null",
            "corpus.speakers=null",
            "corpus.names=[here, there]",
            "corpus.weights={there: 1.5}",
        ],
    )
    trained = train(recipe, two / "run", device="cpu")
    assert set(trained.evaluation.by_corpus) == {"here", "there"}
    errors = sum(
        score.error_rate * score.num_reference for score in trained.evaluation.by_corpus.values()
    )
    total = trained.evaluation.total
    assert errors == pytest.approx(total.error_rate * total.num_reference)
    result = CliRunner().invoke(app, ["evaluate", str(two / "run"), "--json", str(two / "e.json")])
    assert result.exit_code == 0, result.output
    assert "corpus here" in result.output
    one = CliRunner().invoke(app, ["evaluate", str(two / "run"), "--corpus", "here"])
    assert one.exit_code == 0, one.output
    shutil.rmtree(two / "data" / "there")
    gone = CliRunner().invoke(app, ["evaluate", str(two / "run")])
    assert gone.exit_code == 1
