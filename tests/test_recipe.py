from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from pydantic import ValidationError

from phoneme_moe.errors import InputError
from phoneme_moe.recipe import Recipe, load_recipe, shipped_recipes, validate_recipe
from phoneme_moe.recipe import sections as module

RECOGNIZE = tiny.RECIPES / "tiny_recognize.yaml"
CLASSIFY = tiny.RECIPES / "tiny_classify.yaml"


def changed(path: Path, *changes: tuple[str, Any]) -> dict[str, Any]:
    """The recipe as plain data with some dotted keys set; ``...`` takes a key out."""
    data = copy.deepcopy(yaml.safe_load(path.read_text()))
    for key, value in changes:
        target: Any = data
        *sections, last = key.split(".")
        for section in sections:
            target = target[int(section)] if isinstance(target, list) else target[section]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return data


def complaint(path: Path, *changes: tuple[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        validate_recipe(changed(path, *changes), "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix("my.yaml: ")


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize("source", [*shipped_recipes(), RECOGNIZE, CLASSIFY])
def test_a_recipe_survives_as_plain_data(source: str | Path) -> None:
    recipe = load_recipe(source)
    data = recipe.model_dump(mode="json")
    assert validate_recipe(data, "again") == recipe
    assert validate_recipe(yaml.safe_load(yaml.safe_dump(data)), "again") == recipe


def test_the_recipe_of_the_1989_experiment_has_the_published_settings() -> None:
    recipe = load_recipe("hampshire_waibel")
    assert recipe.features.sample_rate == 12_000
    assert recipe.features.n_mels == 16
    assert recipe.task.phonemes == ("b", "d", "g")
    assert recipe.task.token_ms / recipe.features.hop_ms == 15
    assert recipe.model.expert.hidden == (8, 3)
    assert recipe.model.expert.windows == (3, 5)


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe(RECOGNIZE)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.stages[0].epochs = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "key", "meant"),
    [
        (RECOGNIZE, "seeed", "seed"),
        (RECOGNIZE, "features.n_mel", "n_mels"),
        (RECOGNIZE, "model.gate.widht", "width"),
        (RECOGNIZE, "model.expert.dilation", "dilations"),
        (RECOGNIZE, "training.batchsize", "batch_size"),
        (RECOGNIZE, "training.augmentation.sped", "speed"),
        (RECOGNIZE, "training.stages.1.learning_rat", "learning_rate"),
        (CLASSIFY, "corpus.snr", "snr_db"),
        (CLASSIFY, "task.phoneme", "phonemes"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(path: Path, key: str, meant: str) -> None:
    assert complaint(path, (key, 1)) == f"unknown key {key} (did you mean {meant!r}?)"


def test_an_unknown_key_like_no_other_comes_with_those_there_are() -> None:
    assert complaint(RECOGNIZE, ("corpus.zzz", 1)).startswith(
        "unknown key corpus.zzz (known: held_out_speakers, max_utterances, name, "
    )


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("seed", "three", "'three'"),
        ("seed", -1, "-1"),
        ("features.n_mels", 1, "1"),
        ("features.window", "kaiser", "'kaiser'"),
        ("features.sample_rate", 100, "100"),
        ("features.hop_ms", 0, "0"),
        ("training.batch_size", 0, "0"),
        ("training.batch_size", 2.5, "2.5"),
        ("training.precision", "16", "'16'"),
        ("training.stages", [], "[]"),
        ("training.stages.0.epochs", 0, "0"),
        ("training.stages.0.learning_rate", -0.1, "-0.1"),
        ("training.stages.0.keep", "worst", "'worst'"),
        ("model.expert.dropout", 1, "1"),
        ("model.expert.dilations", [0], "0"),
        ("model.expert.bottleneck", 0, "0"),
        ("model.num_experts", 0, "0"),
        ("model.num_experts", "everyone", "'everyone'"),
        ("corpus", "tones", "'tones'"),
        ("model.gate", [1, 2], "[1, 2]"),
    ],
)
def test_a_wrong_value_is_named_with_key_and_what_was_found(
    key: str, value: object, found: str
) -> None:
    message = complaint(RECOGNIZE, (key, value))
    assert message.startswith(key)
    assert f"found {found}; " in message


@pytest.mark.parametrize("key", ["name", "corpus", "corpus.name", "task.kind", "training.stages"])
def test_a_missing_key_is_named(key: str) -> None:
    assert complaint(RECOGNIZE, (key, ...)) == f"{key} is missing"


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (CLASSIFY, [("task.phonemes", ...)], "task.phonemes must list"),
        (CLASSIFY, [("task.phonemes", ["a", "i", "a"])], "names a phoneme twice"),
        (RECOGNIZE, [("model.expert.kernel", 4)], "kernel must be odd, found 4"),
        (RECOGNIZE, [("model.gate", ...)], "model.gate is needed"),
        (RECOGNIZE, [("model.num_experts", 1)], "nothing to choose among"),
        (RECOGNIZE, [("training.stages.0.train", [])], "at least one part"),
        (RECOGNIZE, [("training.stages.0.train", ["gate"])], "the gate learns nothing"),
        (RECOGNIZE, [("training.stages.0.balance", 0.1)], "blend and balance are for a gate"),
        (RECOGNIZE, [("training.stages.0.blend", "utterance")], "are for a gate (route: speaker)"),
        (RECOGNIZE, [("training.stages.1.name", "experts")], "two stages have the same name"),
        (RECOGNIZE, [("model.expert.kind", "tdnn_1989")], "cannot recognize; use tdnn"),
        (CLASSIFY, [("model.gate.kind", "tdnn")], "cannot classify; use tdnn_1989"),
        (CLASSIFY, [("features.stack", 2)], "features.stack must be 1"),
        (RECOGNIZE, [("model.num_experts", 3)], "training.stages.experts: route: speaker needs"),
        (
            RECOGNIZE,
            [
                ("model.num_experts", 1),
                ("model.gate", ...),
                ("training.stages.0.route", "gate"),
            ],
            "training.stages.gate: there is no gate to train",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    path: Path, changes: list[tuple[str, Any]], words: str
) -> None:
    assert words in complaint(path, *changes)


def test_settings_are_changed_by_their_dotted_name() -> None:
    recipe = load_recipe(
        RECOGNIZE,
        [
            "seed=9",
            "features.n_mels=24",
            "training.stages.gate.epochs=7",
            "corpus.speakers=[ann, bob]",
            "corpus.snr_db=12.5",
            "training.augmentation={speed: 0.2}",
        ],
    )
    assert recipe.seed == 9
    assert recipe.features.n_mels == 24
    assert [stage.epochs for stage in recipe.training.stages] == [10, 7, 3]
    assert recipe.corpus.speakers == ("ann", "bob")
    assert recipe.corpus.snr_db == 12.5
    assert recipe.training.augmentation.speed == 0.2
    assert recipe.training.augmentation.time_masks == 0


def test_a_later_change_wins_and_a_section_that_is_not_there_is_made() -> None:
    path = CLASSIFY
    recipe = load_recipe(path, ["seed=1", "seed=2", "training.augmentation.time_masks=1"])
    assert recipe.seed == 2
    assert recipe.training.augmentation.time_masks == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("seed", "--set 'seed': expected section.key=value"),
        ("=3", "--set '=3': expected section.key=value"),
        ("seed=[1", "the value is not valid YAML"),
        ("name.first=x", "'name' is a value, not a section"),
        ("training.stages.gates.epochs=3", "did you mean 'gate'"),
        ("training.stages=3", "training.stages: found 3"),
        ("training.stages.gate=3", "--set training.stages.gate: expected the name of an entry"),
        ("features.n_melz=3", "unknown key features.n_melz (did you mean 'n_mels'?)"),
        ("a.b.c=3", "unknown key a"),
        ("seed=", "seed: found None"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(change: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(RECOGNIZE, [change])
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"just words",
        b"- a\n- list\n",
        b"name: [unclosed",
        b"a: b: c",
        b"\tname: x",
        b"name: \xff\xfe",
        b"\x00\x01",
        b"name: !!python/object/apply:os.system [echo]",
        b"1: 2",
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'hampshire_waibel'"):
        load_recipe("hampshire_weibel")
    with pytest.raises(InputError, match=r"no\.yaml: cannot be read"):
        load_recipe(tmp_path / "no.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(InputError, match=r"folder\.yaml: cannot be read"):
        load_recipe(folder)


def test_every_section_documents_all_its_keys() -> None:
    sections = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, module.Section)
        and value not in {module.Section, Recipe}
    ]
    assert len(sections) >= 7
    for section in sections:
        for key in section.model_fields:
            assert f"{key}:" in (section.__doc__ or ""), f"{section.__name__}.{key}"


def test_recipes_need_no_torch() -> None:
    code = (
        "import sys; from phoneme_moe.recipe import load_recipe; load_recipe('hampshire_waibel');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
