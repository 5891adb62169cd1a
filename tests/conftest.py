"""A tiny corpus and two tiny trained runs, each made once."""

from __future__ import annotations

import os

# Before torch is imported: sums in another order would make other weights.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import tiny
from hypothesis import settings

if TYPE_CHECKING:
    from phoneme_moe.corpora import PreparedCorpus
    from phoneme_moe.pipeline import Trained
    from phoneme_moe.recipe import Recipe


# The same examples every time, on machines of any speed.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")


#: Fixtures that train a run, export one or open a browser: seconds, not milliseconds.
SLOW_FIXTURES = {
    "by_beam",
    "chromium",
    "classified",
    "copied",
    "crf",
    "exported",
    "killed_often",
    "observed",
    "recognized",
    "results",
    "sparse",
    "trained",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs such a fixture is slow; ``pytest -m "not slow"`` is the inner loop."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        # A fixture may be a test's parameter, by name.
        named = parameters.params.values() if parameters else ()
        used = {*getattr(item, "fixturenames", ()), *(n for n in named if isinstance(n, str))}
        if SLOW_FIXTURES & used:
            item.add_marker("slow")


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def prepared_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared corpora go here, also those of subprocesses; never into the checkout's data/."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("prepared")
        patch.setenv("PHONEME_MOE_DATA", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tones(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """The tiny corpus: four speakers, four phonemes, times known."""
    from phoneme_moe.corpora import load_corpus, prepare_corpus

    manifest = tiny.write_tones(tmp_path_factory.mktemp("tones"))
    prepare_corpus("lhotse", manifest, as_name=tiny.CORPUS)
    return load_corpus(tiny.CORPUS)


@pytest.fixture(scope="session")
def foreign(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """Another corpus, in which ``o`` is said where the tiny one has ``m``."""
    return _renamed(tmp_path_factory.mktemp("foreign"), "foreign", {"m": "o"})


@pytest.fixture(scope="session")
def alien(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """A corpus that shares no phoneme with the tiny one."""
    return _renamed(
        tmp_path_factory.mktemp("alien"), "alien", {"a": "A", "i": "E", "m": "O", "s": "U"}
    )


def _renamed(folder: Path, name: str, symbols: dict[str, str]) -> PreparedCorpus:
    from phoneme_moe.corpora import load_corpus, prepare_corpus

    prepare_corpus("lhotse", tiny.write_tones(folder, 6, symbols), as_name=name)
    return load_corpus(name)


@pytest.fixture(scope="session")
def recognize_recipe() -> Recipe:
    from phoneme_moe.recipe import load_recipe

    return load_recipe(tiny.RECIPES / "tiny_recognize.yaml")


@pytest.fixture(scope="session")
def classify_recipe() -> Recipe:
    from phoneme_moe.recipe import load_recipe

    return load_recipe(tiny.RECIPES / "tiny_classify.yaml")


@pytest.fixture(scope="session")
def recognized(
    tones: PreparedCorpus, recognize_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A run that writes down utterances: three speaker experts, a gate, three stages."""
    from phoneme_moe.pipeline import train

    folder = tmp_path_factory.mktemp("runs") / "recognize"
    return train(recognize_recipe, folder, device="cpu")


@pytest.fixture(scope="session")
def classified(
    tones: PreparedCorpus, classify_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A run that names tokens; the speaker dan is held out."""
    from phoneme_moe.pipeline import train

    folder = tmp_path_factory.mktemp("runs") / "classify"
    return train(classify_recipe, folder, device="cpu")


@pytest.fixture
def phoneme_moe(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs the command in this process, entry point and all."""
    from phoneme_moe.cli import main

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["phoneme-moe", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def real_recordings() -> Path:
    """Real recordings as a user would bring them, or skips the test."""
    beside = Path(__file__).parents[2] / "shared" / "corpora"
    root = Path(os.environ.get("PHONEME_MOE_CORPORA") or beside)
    if not (root / "transcribe").is_dir():
        pytest.skip(f"no real recordings at {root / 'transcribe'} (set PHONEME_MOE_CORPORA)")
    return root / "transcribe"
