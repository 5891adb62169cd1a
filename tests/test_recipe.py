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
from phoneme_moe.recipe import (
    Recipe,
    data,
    load_recipe,
    model,
    shipped_recipes,
    training,
    validate_recipe,
)
from phoneme_moe.recipe.section import Section
from phoneme_moe.recipe.weights import estimate_weights

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
        "unknown key corpus.zzz (known: embeddings, held_out_speakers, max_utterances, name, "
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
    assert f"found {found}, " in message


@pytest.mark.parametrize("key", ["name", "corpus", "corpus.name", "task.kind", "training.stages"])
def test_a_missing_key_is_named(key: str) -> None:
    assert complaint(RECOGNIZE, (key, ...)) == f"{key} is missing"


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (CLASSIFY, [("task.phonemes", ...)], "task.phonemes must list"),
        (CLASSIFY, [("task.phonemes", ["a", "i", "a"])], "contains a phoneme twice"),
        (RECOGNIZE, [("model.expert.kernel", 4)], "kernel must be odd, found 4"),
        (RECOGNIZE, [("model.gate", ...)], "model.gate is needed"),
        (RECOGNIZE, [("model.num_experts", 1)], "model.gate has a single expert"),
        (RECOGNIZE, [("training.stages.0.train", [])], "at least one part"),
        (RECOGNIZE, [("training.stages.0.train", ["gate"])], "a gate that is not used"),
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


SID = {"objective": "speaker", "route": "gate", "train": ["gate"]}
EM = {"name": "em", "train": ["experts", "gate"], "optimizer": "em", "epochs": 3}
LINEAR = [("model.expert", {"kind": "linear"}), ("model.gate", {"kind": "linear"})]


def stage(number: int, **settings: Any) -> list[tuple[str, Any]]:
    return [(f"training.stages.{number}.{key}", value) for key, value in settings.items()]


def em(**settings: Any) -> list[tuple[str, Any]]:
    """One stage of EM in place of all others, on parts that it can train."""
    return [*LINEAR, ("training.stages", [EM | settings])]


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (CLASSIFY, LINEAR),
        (RECOGNIZE, LINEAR),
        (CLASSIFY, [("model.expert", {"kind": "feed_forward", "hidden": [9, 8, 7]})]),
        (RECOGNIZE, [("model.gate", {"kind": "feed_forward", "hidden": [9], "kernel": 5})]),
        (RECOGNIZE, [("model.functions", ["uniform"])]),
        (RECOGNIZE, [("model.gate.activation", "sigmoid"), ("model.combine", "product")]),
        (RECOGNIZE, stage(1, **SID, blend="frame")),
        (RECOGNIZE, [("model.combine", "vote"), *stage(1, **SID, blend="frame"),
                     ("training.stages.2.train", ["experts"]),
                     ("training.stages.2.route", "speaker")]),
        (RECOGNIZE, [("model.combine", "maximum"), ("training.stages.2.train", ["experts"])]),
        (CLASSIFY, stage(0, objective="mse") + stage(1, objective="cfm")),
        (CLASSIFY, em(weight_decay=0.5)),
        (CLASSIFY, [("model.gate", {"kind": "fixed", "weights": [1, 2, 0]}),
                    ("training.stages.1.train", ["experts"])]),
        (CLASSIFY, [("model.gate", {"kind": "speaker"}), ("corpus.held_out_speakers", []),
                    ("training.stages.1.train", ["experts"])]),
    ],
)  # fmt: skip
def test_a_recipe_may_name_these_parts(path: Path, changes: list[tuple[str, Any]]) -> None:
    recipe = validate_recipe(changed(path, *changes), "my.yaml")
    data = yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert validate_recipe(data, "again") == recipe


FIXED = {"kind": "fixed", "weights": [1, 1, 1]}


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (CLASSIFY, [("model.expert.hidden", [8])], "model.expert: hidden: found [8], expected the"),
        (CLASSIFY, [("model.expert", {"kind": "feed_forward"})], "needs hidden, the units"),
        (CLASSIFY, [("model.expert", {"kind": "function"})], "kind: function needs function"),
        (RECOGNIZE, [("model.expert.function", "f")], "function: found 'f', but the kind is tdnn"),
        (RECOGNIZE, [("model.expert", {"kind": "speaker"})], "model.expert.kind: found 'speaker'"),
        (RECOGNIZE, [("model.expert.activation", "sigmoid")], "unknown key model.expert.activat"),
        (RECOGNIZE, [("model.gate.activation", "relu")], "model.gate.activation: found 'relu'"),
        (RECOGNIZE, [("model.gate.weights", [1, 2])], "weights are for kind: fixed, found kind: t"),
        (RECOGNIZE, [("model.gate", {"kind": "fixed"})], "kind: fixed needs weights"),
        (RECOGNIZE, [("model.gate", FIXED | {"weights": [1, -1]})], "[1.0, -1.0], expected values"),
        (RECOGNIZE, [("model.gate", FIXED | {"weights": [0, 0]})], "weights: found [0.0, 0.0]"),
        (RECOGNIZE, [("model.gate", FIXED | {"weights": [1, ".inf"]})], "model.gate.weights.1"),
        (
            RECOGNIZE,
            [("model.gate", FIXED | {"activation": "sigmoid"})],
            "no scores and no activation",
        ),
        (RECOGNIZE, [("model.gate", FIXED)], "a gate of kind: fixed has no weights to train"),
        (
            RECOGNIZE,
            [("model.gate", {"kind": "function", "function": "uniform"})],
            "training.stages.gate: a gate of kind: function has no weights to train",
        ),
        (CLASSIFY, [("model.gate", {"kind": "speaker"})], "held_out_speakers: model.gate is of ki"),
        (RECOGNIZE, [("model.gate", {"kind": "speaker"})], "of kind: speaker has no weights to tr"),
        (
            RECOGNIZE,
            [("model.gate", {"kind": "speaker"}), ("model.num_experts", 3)],
            "model.gate: kind: speaker needs model.num_experts: speakers",
        ),
        (
            RECOGNIZE,
            [("model.expert", {"kind": "function", "function": "uniform"})],
            "model.num_experts: found speakers, but experts with the same function are identical",
        ),
        (
            RECOGNIZE,
            [
                ("model.expert", {"kind": "function", "function": "uniform"}),
                ("model.num_experts", 1),
                ("model.functions", ["other"]),
                ("training.stages.0.route", "gate"),
            ],
            "training.stages.experts: experts of kind: function have no weights to train",
        ),
        (RECOGNIZE, [("model.functions", ["f", "f"])], "model.functions contains a function twice"),
        (RECOGNIZE, [("model.combine", "mean")], "model.combine: found 'mean'"),
        (
            RECOGNIZE,
            [("model.combine", "vote")],
            "training.stages.joint: a vote has no gradient (model.combine: vote)",
        ),
        (
            RECOGNIZE,
            [("model.combine", "maximum")],
            "training.stages.joint: a maximum has no gradient for the gate",
        ),
        (
            RECOGNIZE,
            [("model.num_experts", 1), ("model.gate", ...), ("model.combine", "product")],
            "model.combine: product has only one expert to combine",
        ),
        (RECOGNIZE, stage(0, objective="mse"), "objective: found mse, which is for task.kind clas"),
        (RECOGNIZE, stage(0, objective="crf"), "objective: crf is for an encoder (model.encoder)"),
        (RECOGNIZE, stage(0, objective="speaker"), "objective: speaker is for the gate alone: fo"),
        (
            RECOGNIZE,
            stage(1, **SID, blend="frame", consistency=0.2),
            "consistency compares posteriors: found objective: speaker, expected cross_entropy",
        ),
        (RECOGNIZE, stage(1, **SID), "blend: utterance blends probabilities: found objective: sp"),
        (
            RECOGNIZE,
            [("model.num_experts", 3), *stage(0, route="gate"), *stage(1, **SID, blend="frame")],
            "training.stages.gate: objective: speaker needs model.num_experts: speakers",
        ),
        (RECOGNIZE, [("training.stages.0.learning_rate", ...)], "stages.0: learning_rate is miss"),
        (CLASSIFY, em(learning_rate=0.1), "optimizer: em has no learning_rate: found 0.1"),
        (CLASSIFY, em(train=["gate"]), "optimizer: em trains experts and gate together: found"),
        (CLASSIFY, em(objective="mse"), "optimizer: em maximises the likelihood only"),
        (CLASSIFY, em(balance=1), "optimizer: em maximises the likelihood only"),
        (CLASSIFY, em(augmentation={"speed": 0.1}), "em needs the same features in every epoch"),
        (RECOGNIZE, em(), "training.stages.em: optimizer: em needs task.kind: classify, found rec"),
        (
            CLASSIFY,
            [*em(), ("model.expert", {"kind": "feed_forward", "hidden": [4]})],
            "optimizer: em needs model.expert.kind: linear, found feed_forward",
        ),
        (
            CLASSIFY,
            [*em(), ("model.gate", {"kind": "linear", "activation": "sigmoid"})],
            "optimizer: em needs model.gate.activation: softmax, found sigmoid",
        ),
        (
            CLASSIFY,
            [*em(), ("model.combine", "product")],
            "optimizer: em needs model.combine: weighted_sum, found product",
        ),
        (
            CLASSIFY,
            [*em(), ("model.functions", ["uniform"])],
            "optimizer: em needs model.functions: [], found ['uniform']",
        ),
        (
            CLASSIFY,
            [*em(), ("model.num_experts", 1), ("model.gate", ...)],
            "training.stages.em: there is no gate to train",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
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
        ("seed", "changes: 'seed': expected section.key=value"),
        ("=3", "changes: '=3': expected section.key=value"),
        ("seed=[1", "changes: seed: the value: not valid YAML (line 1)"),
        ("name.first=x", "'name' is a value, not a section"),
        ("training.stages.gates.epochs=3", "did you mean 'gate'"),
        ("training.stages=3", "training.stages: found 3"),
        ("training.stages.gate=3", "changes: training.stages.gate: expected the name of an entry"),
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
        b"name: a\nname: b",
        b"a: &a [*a]",
        b"name: {}: {}",
        b"[" * 10_000,
        b"seed: " + b"9" * 5_000,
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


def test_recipes_are_read_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "of a Windows editor.yaml"
    path.write_text(RECOGNIZE.read_text("utf-8"), encoding="utf-16")
    assert load_recipe(path) == load_recipe(RECOGNIZE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("model.expert.width", 10**9)], "model.expert.width: found 1000000000, expected at most"),
        (
            [("model.expert.width", 10**6), ("model.expert.dilations", [1] * 9)],
            "model.expert: found sizes of about ",
        ),
        ([("model.expert.dilations", [1] * 1_001)], "model.expert.dilations: found"),
        ([("model.expert.windows", [-3, 5])], "model.expert.windows.0: found -3"),
        ([("training.batch_size", 10**9)], "training.batch_size: found 1000000000"),
        ([("training.stages.0.learning_rate", float("inf"))], "learning_rate: found inf"),
        ([("corpus.snr_db", float("nan"))], "corpus.snr_db: found nan"),
        ([("seed", 2**40)], "seed: found 1099511627776"),
        ([("name", "../outside")], "name: found '../outside', which cannot name a folder"),
        ([("training.stages.0.name", "/tmp/x")], "name: found '/tmp/x', which cannot name"),
    ],
)
def test_absurd_sizes_and_names_are_refused(changes: list[tuple[str, Any]], words: str) -> None:
    assert words in complaint(RECOGNIZE, *changes)


@pytest.mark.parametrize("source", [*shipped_recipes(), *tiny.RECIPES.glob("*.yaml")])
def test_the_number_of_weights_is_estimated(source: str | Path) -> None:
    from phoneme_moe.model.recognizer import Recognizer

    recipe = load_recipe(source)
    phonemes = recipe.task.phonemes or tuple("abcdefgh")
    of_speakers = recipe.model.num_experts == "speakers"
    num_experts = 3 if of_speakers else recipe.model.num_experts
    experts = tuple(f"expert_{i}" for i in range(num_experts + len(recipe.model.functions)))
    recognizer = Recognizer(recipe.features, recipe.task, recipe.model, phonemes, experts)
    matrices = sum(p.numel() for p in recognizer.parameters())
    estimate = estimate_weights(
        recipe.features,
        recipe.task,
        recipe.model,
        recognizer.phonemes.num_outputs,
        len(experts),
    )
    assert 0.94 * matrices < sum(estimate.values()) <= matrices


def test_every_section_documents_all_its_keys() -> None:
    found = {
        value
        for module in (model, data, training)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Section) and value not in {Section, Recipe}
    }
    assert len(found) >= 9
    for section in found:
        text = " ".join(base.__doc__ or "" for base in section.__mro__ if issubclass(base, Section))
        for key in section.model_fields:
            assert f"{key}:" in text, f"{section.__name__}.{key}"


def test_recipes_need_no_torch() -> None:
    code = (
        "import sys; from phoneme_moe.recipe import load_recipe; load_recipe('hampshire_waibel');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
