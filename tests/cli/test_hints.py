"""Commands that messages and documents tell to type: they work as printed."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tiny
import typer
from corpora.layouts import make_fsdd
from packaging.requirements import Requirement

from phoneme_moe.cli import app
from phoneme_moe.cli.ending import command_to_go_on
from phoneme_moe.corpora import CORPORA, PreparedCorpus
from phoneme_moe.system.extras import EXTRAS, install_command

if TYPE_CHECKING:
    from conftest import Outcome

Command = Callable[..., "Outcome"]

ROOT = Path(__file__).resolve().parents[2]
RECIPE = tiny.RECIPES / "tiny_classify.yaml"
SHORT = [f"--set=training.stages.{stage}.epochs=1" for stage in ("experts", "gate")]


def typed(line: str) -> list[str]:
    """The arguments of the command at the end of a line."""
    program, *arguments = shlex.split(line[line.index("phoneme-moe ") :])
    assert program == "phoneme-moe"
    return arguments


@pytest.mark.slow
def test_unfinished_training_is_finished_by_the_command_that_is_named(
    phoneme_moe: Command, tones: PreparedCorpus, tmp_path: Path
) -> None:
    # Another recipe than the built-in or given one: the changes are in the run alone.
    run = tmp_path / "a run"
    given = ["train", str(RECIPE), "--out", str(run), "--device", "cpu", *SHORT]
    assert phoneme_moe(*given).code == 0
    (run / "decoding.json").unlink()
    refused = phoneme_moe("evaluate", run)
    assert refused.code == 1
    assert phoneme_moe(*typed(refused.err)).code == 0
    assert phoneme_moe("evaluate", run).code == 0
    (run / "decoding.json").unlink()
    assert phoneme_moe(*typed(command_to_go_on(["phoneme-moe", *given]))).code == 0
    again = phoneme_moe(*given)
    assert "already contains a run; add --resume" in again.err
    assert phoneme_moe(*given, "--resume").code == 0


def test_a_corpus_is_prepared_by_the_command_that_is_named(
    phoneme_moe: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "data"))
    refused = phoneme_moe("train", "six_speakers_digits", "--out", tmp_path / "run")
    arguments = typed(refused.err)
    make_fsdd(tmp_path / "fsdd")
    arguments[arguments.index("DIR")] = str(tmp_path / "fsdd")
    assert phoneme_moe(*arguments).code == 0
    assert phoneme_moe("corpora", "check", "fsdd").code == 0


def test_the_list_of_corpora_names_commands_that_lack_but_the_folder(
    phoneme_moe: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONEME_MOE_DATA", str(tmp_path / "data"))
    listed = phoneme_moe("corpora", "list").out
    commands = [line for line in listed.splitlines() if "corpora prepare" in line]
    assert len(commands) == len(CORPORA)
    for command in commands:
        if "DIR" not in command:
            continue  # the announcers take minutes
        refused = phoneme_moe(*typed(command.replace("DIR", str(tmp_path / "no_such"))))
        assert refused.code == 1
        assert "no_such" in refused.err


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_of_an_extra_are_installed_by_the_command_that_is_named(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {Requirement(one).name for one in project["optional-dependencies"][extra]}
    pip, install, *packages = install_command(extra).split()
    assert (pip, install) == ("pip", "install")
    assert {Requirement(package).name for package in packages} == needed


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in [*parameter.opts, "-h", "--help"]}


def commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    yield names, options_of(group)
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *names, name)


OPTIONS = dict(commands(typer.main.get_command(app)))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "data").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "recipes").glob("*.yaml")),
    *sorted((ROOT / "phoneme_moe").rglob("*.py")),
    *sorted((ROOT / "phoneme_moe_reproductions").rglob("*.py")),
]
PROSE = {"or", "reads"}
"""Words that follow the name of the program in sentences."""
WRITTEN = re.compile(r"phoneme-moe (?P<words>[a-z][a-z -]*[a-z0-9]\b)(?P<rest>[^`\n\"|&>#]*)")


def test_documents_and_messages_name_commands_and_options_that_there_are() -> None:
    number = 0
    for document in DOCUMENTS:
        for match in WRITTEN.finditer(document.read_text(encoding="utf-8")):
            words = match["words"].split()
            if words[0] in PROSE:
                continue
            names = tuple(words[:2]) if tuple(words[:2]) in OPTIONS else (words[0],)
            where = f"{document.relative_to(ROOT)}: {match[0]}"
            assert names in OPTIONS, where
            options = re.findall(
                r"(?<![\w-])--[a-z][a-z0-9-]*(?!\.\.\.|[a-z0-9-])", match["words"] + match["rest"]
            )
            assert set(options) <= OPTIONS[names], where
            number += 1
    assert number > 100


def test_nothing_tells_to_install_from_an_index_what_is_in_none() -> None:
    for document in DOCUMENTS:
        assert "install 'phoneme-moe[" not in document.read_text(encoding="utf-8"), document
