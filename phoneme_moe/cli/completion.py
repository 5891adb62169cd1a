"""Completion of names by the shell: recipes, corpora, runs, experts, speakers.

Nothing here imports torch, and a file that cannot be read completes nothing.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import typer

from phoneme_moe.errors import InputError

Names = Iterator[tuple[str, str]]
"""Names and what they are; some shells show the latter, too."""


def recipe_names(incomplete: str) -> Names:
    """Built-in recipes, with their descriptions."""
    from phoneme_moe.files.yaml_files import read_yaml
    from phoneme_moe.recipe import shipped_recipes

    for name, path in shipped_recipes().items():
        if name.startswith(incomplete):
            recipe = read_yaml(path)
            yield name, str(recipe.get("description", "")) if isinstance(recipe, dict) else ""


def corpus_names(incomplete: str) -> Names:
    """Corpora that can be prepared by name."""
    from phoneme_moe.corpora import CORPORA

    known = {name: source.description for name, source in CORPORA.items()}
    yield from beginning(incomplete, known)


def prepared_corpus_names(incomplete: str) -> Names:
    """Prepared corpora."""
    from phoneme_moe.corpora import CORPORA, prepared_names

    known = {n: CORPORA[n].description if n in CORPORA else "your own" for n in prepared_names()}
    yield from beginning(incomplete, known)


def download_names(incomplete: str) -> Names:
    """Corpora that can be downloaded."""
    from phoneme_moe.corpora.download import DOWNLOADS

    yield from beginning(incomplete, dict.fromkeys(DOWNLOADS, ""))


def run_names(incomplete: str) -> Names:
    """Models of the package, the runs in ``runs/``, and those below the folder typed so far."""
    from phoneme_moe.models import shipped_models

    yield from beginning(incomplete, dict.fromkeys(shipped_models(), "model of the package"))
    patterns = {f"{glob.escape(incomplete)}*/model.json", "runs/*/model.json"}
    # Not Path.glob (PTH207): names must stay as typed, and it drops ./ and knows no ../.
    files = {file for pattern in patterns for file in glob.glob(pattern)}  # noqa: PTH207
    folders = sorted(file.removesuffix("/model.json") for file in files)
    yield from beginning(incomplete, dict.fromkeys(folders, "run"))


def split_names(incomplete: str) -> Names:
    """Splits of a corpus."""
    yield from beginning(incomplete, dict.fromkeys(("train", "dev", "test"), ""))


def device_names(incomplete: str) -> Names:
    """Devices."""
    yield from beginning(incomplete, dict.fromkeys(("auto", "cpu", "cuda"), ""))


def notation_names(incomplete: str) -> Names:
    """Notations of phonemes."""
    from phoneme_moe.notation.convert import NOTATIONS

    yield from beginning(incomplete, dict.fromkeys(NOTATIONS, ""))


def tracker_names(incomplete: str) -> Names:
    """Experiment trackers."""
    from phoneme_moe.training.loggers import TRACKERS

    yield from beginning(incomplete, dict.fromkeys(TRACKERS, ""))


def expert_name(ctx: typer.Context, incomplete: str) -> Names:
    """Experts of the run that the command line names."""
    yield from beginning(incomplete, dict.fromkeys(_experts(ctx), ""))


def expert_list(ctx: typer.Context, incomplete: str) -> Names:
    """The last of several experts with commas between, none twice."""
    *before, last = incomplete.split(",")
    for name, about in beginning(last, dict.fromkeys(_experts(ctx), "")):
        if name not in before:
            yield ",".join([*before, name]), about


def speaker_names(ctx: typer.Context, incomplete: str) -> Names:
    """Speakers of the corpus of the run, if it is prepared; else those of its evaluation."""
    yield from beginning(incomplete, dict.fromkeys(_speakers(ctx), ""))


def gate_sources(ctx: typer.Context, incomplete: str) -> Names:
    """What ``--gate-from`` takes: a speaker, or uniform."""
    known = {"uniform": "equal weights", **dict.fromkeys(_speakers(ctx), "speaker")}
    yield from beginning(incomplete, known)


def beginning(incomplete: str, known: Mapping[str, str]) -> Names:
    """The known names that begin as the incomplete one."""
    for name, about in known.items():
        if name.startswith(incomplete) and name.isprintable():
            yield name, about


def _experts(ctx: typer.Context) -> Iterable[str]:
    from phoneme_moe.recipe import EncoderSection
    from phoneme_moe.recipe.router import numbered_experts

    document = _read(ctx, "model.json")
    with suppress(ValueError, KeyError, TypeError):
        encoder = document["model"]["encoder"]
        if encoder is None:
            return [str(name) for name in document["experts"]]
        sparse = EncoderSection.model_validate(encoder).sparse
        # Without sparse layers, experts are adapters below the encoder.
        return numbered_experts(sparse.num_routed) if sparse else map(str, document["experts"])
    return ()


def _speakers(ctx: typer.Context) -> Iterable[str]:
    from phoneme_moe.corpora import load_corpus

    with suppress(InputError):
        return load_corpus(str(_read(ctx, "model.json").get("corpus") or "")).speakers
    speakers = _read(ctx, "evaluation.json").get("by_speaker")
    return list(speakers) if isinstance(speakers, dict) else []


def _read(ctx: typer.Context, file: str) -> dict[str, Any]:
    """A JSON file of the run that precedes on the command line; empty if there is none."""
    from phoneme_moe.models import locate_run

    # The run is the first argument, and not yet assigned before an option without its value.
    run = ctx.params.get("run") or next(iter(ctx.args), "")
    with suppress(InputError, OSError, ValueError):
        content = json.loads((locate_run(run) / file).read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def transcript_format_names(incomplete: str) -> Names:
    """Formats of transcripts."""
    from phoneme_moe.transcription.formats import FORMATS

    yield from beginning(incomplete, dict.fromkeys([*FORMATS, "all"], ""))


def alignment_format_names(incomplete: str) -> Names:
    """Formats of alignments."""
    from phoneme_moe.transcription.formats import alignment_formats

    yield from beginning(incomplete, dict.fromkeys(alignment_formats(), ""))
